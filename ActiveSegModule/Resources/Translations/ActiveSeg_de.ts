<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE" sourcelanguage="en">
  <context>
    <name>ActiveSegModule</name>
    <message>
      <source>ActiveSeg</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segments a CT with TotalSegmentator or any nnU-Net model, highlights where the model is uncertain, and collects your corrections as a training dataset.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Built on nnU-Net (Isensee et al., Nature Methods 2021) and TotalSegmentator (Wasserthal et al., Radiology: Artificial Intelligence 2023).</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segment</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segment the loaded CT</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Review</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Check the regions where the model is uncertain</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Store the corrections in a dataset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Learn</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Fine-tune the model on the corrections</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Engine, weights and settings</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Earlier messages</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Details</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Close</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Restore</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Bring the CT and your edits back into the scene</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Discard</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Delete these unsaved edits for good</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Later</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Keep them, and ask again when Slicer is started</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>EditingFace</name>
    <message>
      <source>Only in the current region</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Edits outside of the region's box have no effect</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Back to the list</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>ExportPage</name>
    <message>
      <source>Dataset:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder, such as .../Dataset801_Liver</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>nnU-Net dataset for the corrections; it is created if it does not exist</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Unreviewed voxels:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How to treat voxels that you did not review</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Patient:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>the same ID for all CTs of a patient</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A project trains on all CTs of a patient, or on none; kept in a private file, never in the dataset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Annotator:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>may stay empty</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Notes:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Which structures are these segments?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segment</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structure</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Preview export</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Compare with the prediction; nothing is stored</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export corrections</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Store the case in the dataset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cases of the dataset:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Revision</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Not annotated yet</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Refresh</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Open</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Bring the case into the scene to correct it further</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove the case from the dataset</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>LearnPage</name>
    <message>
      <source>Project:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder of the project</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Where the versions of the fine-tuned model are stored</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>New project</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Create a project with the chosen model and dataset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structures of the dataset that the model knows; the others are new</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structure</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>In the model</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Assign patient ID</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Assigns the patient ID entered above to the selected case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Mark whole case as reviewed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>For a held-out case: all of it is used to measure versions from now on</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Training settings</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Epochs:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Of each member</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>automatic</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Iterations:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>In each epoch</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Members:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Of the new ensemble</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Frozen stages:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Encoder stages to freeze</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Learning rate:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Peak learning rate</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Replay:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Share of replayed images, from 0 to 1</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Preview training</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cases, settings, time and memory; nothing is trained</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Fine-tune</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Train a new version on the corrections, measure it, and use it if it is better</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Pause</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>End it for good; no version is made</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Keep training after Slicer closes</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Otherwise it stops when Slicer is closed, and can be resumed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>All trained versions; the current one is marked</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Version</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>From</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cases</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Mean Dice</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Decision</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Compare</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>With the current version, on the held-out cases</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Promote</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Make it the current version by hand</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Roll back</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Make current what was current before</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Into one file, for another installation</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Import...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>From such a file</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>ReviewPage</name>
    <message>
      <source>Segmentation:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The segmentation to review; one that ActiveSeg made</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Focus structures</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Search</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Find regions in these structures</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Find the regions to review again, in the ticked structures only</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>None</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No focus: regions come from all structures</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Uncertainty</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Colour where the model is uncertain</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Measure:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How uncertainty is measured</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Threshold:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Values below are not shown</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Opacity:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Opacity of the colours</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Legend</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show what the colours mean</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Regions to review, worst first</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structure</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Score</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Size (ml)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>State</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Previous</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Previous region (P)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Next</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Next region (N)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Accept</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Mark the region as correct</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Skip</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Leave the region undecided: it is not used as ground truth</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Edit</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Correct the region with the Segment Editor</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Undo</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Take the last edit back</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Redo</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Make the edit again</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>SegmentPage</name>
    <message>
      <source>CT:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The CT to segment</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Model:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The model to segment with</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use an nnU-Net model from a folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Device:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Device for inference</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Structures</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Search</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>All</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>None</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Options</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Members:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Ensemble members used to estimate uncertainty</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Regions:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>How many regions to review are listed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Exact mode</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reproduces the original package's result (slower)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show a quick low-resolution preview first</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A first result in a fraction of the time, for models that have a low-resolution variant</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use a lower-resolution model if memory runs out</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Otherwise the job ends with an error</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segment</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segment the chosen CT; Slicer stays usable meanwhile</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>End it at once; nothing is left behind</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>SettingsPage</name>
    <message>
      <source>Install...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Shows size and location first</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Update</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Repair</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use my own Python...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A Python that has torch, nnunetv2 and TotalSegmentator already; it is never changed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Check</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Compare every installed file with the packages' records; nothing is changed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stop the engine</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Frees its memory; it starts again when it is needed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Location, proxy, offline</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Wheels:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>folder of wheels, for a computer without internet</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use only the folder of wheels</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Proxy:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>http://user:password@host:port</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remembered for the next start of Slicer, except for the password</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>PyTorch build:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Automatic looks for a graphics card</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Model weights and licence</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Add weights from a file...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A zip of TotalSegmentator's weights that was downloaded on another computer</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>TotalSegmentator licence number</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Save licence number</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Send usage statistics to TotalSegmentator</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Off: nothing is sent</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Log</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Open the log's folder</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>SetupPage</name>
    <message>
      <source>Install the engine...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>More</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.at_start</name>
    <message>
      <source>Open ActiveSeg</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>ActiveSeg: unsaved corrections of {count} case(s)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>ActiveSeg: training of {name}</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.current_case</name>
    <message>
      <source>{ct} is the CT of {name}: both belong together again.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.drafts</name>
    <message>
      <source>Unsaved corrections of {ct}, from {time}: {done} of {total} regions reviewed. Restore them?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Unsaved corrections of {ct}, from {time}. Restore them?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Delete the unsaved corrections of {name} for good?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Delete</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.exporting</name>
    <message>
      <source>Use where the model is confident</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use all: I reviewed the whole case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Ignore all outside of reviewed regions</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A preview cannot be exported.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a segmentation and a dataset.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>nnU-Net cannot have a dataset with the name '{typed}'. Shall it be called '{name}'?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Use this name</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Keeping a copy of the case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Handing the case over</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Waiting for another job</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reading the case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Comparing it with the prediction</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Storing it in the dataset</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Working on the case</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>choose...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>leave it out</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove {case} with its history from {dataset}? This cannot be undone.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The dataset's folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stored as {case} in {dataset}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This would be written to {dataset}</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.installation</name>
    <message>
      <source>detect automatically</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>CPU only</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Ignore the variable</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Set up the engine</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is not installed. It is a Python environment of its own, outside of Slicer's.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is damaged. {what} {way_out}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is running.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is ready; it starts when it is needed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Press Repair.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Install what is missing into that Python, or let ActiveSeg install an environment of its own.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is damaged. {what}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Repair...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Installed by ActiveSeg in {folder}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Your own Python: {python}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Set by ACTIVESEG_ENGINE_PYTHON: {python}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{size} of an unfinished installation are there.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{size} on disk</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This version of ActiveSeg was tested with other packages. Press Update.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Install</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is installed again, with the same settings; until that is done the old one stays.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Repair</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is up to date.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Update</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>All files of the engine are as they were installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove the engine's environment from {folder}? Your datasets and models stay.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Remove</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A Python with torch, nnunetv2 and TotalSegmentator</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine was removed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>These files in its folder are not ActiveSeg's and stay: {names}.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is updated.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The engine is repaired.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Your own Python is used from now on.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancelled. {size} stay in {folder}: the next installation uses them, or remove them with Remove.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancelled. The engine is as it was before.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Choose a folder</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The log is in {folder}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>no folder yet</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.installation_texts</name>
    <message>
      <source>{size:.0f} MB</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{size:.1f} GB</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder: {folder}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Space: about {needed}; {free} are free</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Download: about {size}, {minutes} min with 50 Mbit/s; then some minutes to unpack and to try it</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Download: nothing, all comes from {wheels}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Already there from an earlier attempt: {size}. They are used again, so less is downloaded.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>PyTorch for NVIDIA graphics cards</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>PyTorch for the CPU</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Packages: {count}, with {build}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The weights of a model (0.1 to 1.5 GB) are downloaded when it is first used.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Nothing outside of the folder is changed, and nothing in Slicer's own Python.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Getting the installer</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Looking for a Python</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Getting the packages</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Trying the packages</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Looking at what an installation needs</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Looking at what this needs</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Checking the engine's files</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Removing the engine</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.message</name>
    <message>
      <source>Details</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.models</name>
    <message>
      <source>Set up the engine to see the models.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Version {version} of the project is used for segmentation from now on.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Automatic</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{free:.1f} GB free</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>CPU</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder of an nnU-Net model (with plans.json, dataset.json and fold_...)</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.panel</name>
    <message>
      <source>Repair...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Set up the engine</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{name} is ready. Choose its CT to review it.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.project</name>
    <message>
      <source>new</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Folder of the project</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{case}: {side}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A project contains the dataset, the held-out cases and all versions of the fine-tuned model.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Based on {model}. {train} training cases, {held_out} held out, {replay} replayed images.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No patient ID yet: {cases}.</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.question</name>
    <message>
      <source>ActiveSeg</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Yes</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.review</name>
    <message>
      <source>{count} ticked</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>all structures</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{done} of {total} reviewed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>'{name}' was not made by ActiveSeg: there are no regions to review. Choose another one, or segment.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>There is no segmentation of this CT to review yet.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The CT of '{name}' is no longer in the scene. Load the same CT again to go on.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>This is a quick preview by a coarser model. It can be neither reviewed, edited nor exported.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>'{case}' comes from a dataset and has no regions to review. Press Edit to correct it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No region to review was found. Press Edit to correct the segmentation.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{what}. Hover to see it in the views, click to take it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Alternatives:</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>No alternatives here.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{count} regions were reviewed. Replace the list? Your edits stay.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Replace</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>open</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>accepted</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>corrected</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>skipped</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>background</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.segmenting</name>
    <message>
      <source>Automatic</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>1 (fastest, segmentation only)</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>4 members</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>8 members</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{ticked} of {all}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Load a CT.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Set up the engine, and choose a model.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Tick at least one structure.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stop</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Try again</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segmentation shown, refining uncertainty</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Loading the model</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Waiting for another job</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Downloading weights</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Reading the image</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Preparing the image</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Segmenting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Resampling to the CT</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Finding regions to review</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Saving</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{what}, {left} left</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{seconds} s</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{minutes} min</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.steps</name>
    <message>
      <source>Segment</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Review</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Learn</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Back to {step}</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.training</name>
    <message>
      <source>Resume</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Pause</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Train on {cases} cases? It takes {time}, and {memory} of memory.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Train</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel the training? Everything it has learned so far is lost; Pause would keep it.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancel training</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The reason is in its log.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Show</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The training of {name} has ended. {version}: {verdict}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The training of {name} has stopped and can be resumed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A training of {name} is running; it was started before Slicer.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Starting</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Preparing the cases</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Training</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Measuring on the held-out cases</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Done</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Failed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Cancelled</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Stopped; can be resumed</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Paused</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>{what}: member {member}, epoch {epoch}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>, loss {loss:.3f}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>, {left} left</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.versions</name>
    <message>
      <source>Make {version} the current version, whatever the comparison says?</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Make current</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Export the version</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Written to {file}</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Import an exported version</source>
      <translation type="unfinished" />
    </message>
  </context>
  <context>
    <name>panel.weights</name>
    <message>
      <source>Enter the licence number</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Add weights from a file...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>A zip of TotalSegmentator's weights</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>Adding the weights...</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The weights of {model} are installed.</source>
      <translation type="unfinished" />
    </message>
    <message>
      <source>The licence number is kept for TotalSegmentator.</source>
      <translation type="unfinished" />
    </message>
  </context>
</TS>
