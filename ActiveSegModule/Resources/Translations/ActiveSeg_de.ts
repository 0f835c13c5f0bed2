<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en">
  <context>
    <name>ActiveSegModule</name>
    <message>
      <source>ActiveSeg</source>
      <translation>ActiveSeg</translation>
    </message>
    <message>
      <source>Segments a CT with TotalSegmentator or any nnU-Net model, highlights where the model is uncertain, and collects your corrections as a training dataset.</source>
      <translation>Segmentiert ein CT mit TotalSegmentator oder einem beliebigen nnU-Net-Modell, hebt hervor, wo das Modell unsicher ist, und sammelt Ihre Korrekturen als Trainingsdatensatz.</translation>
    </message>
    <message>
      <source>Built on nnU-Net (Isensee et al., Nature Methods 2021) and TotalSegmentator (Wasserthal et al., Radiology: Artificial Intelligence 2023).</source>
      <translation>Beruht auf nnU-Net (Isensee et al., Nature Methods 2021) und TotalSegmentator (Wasserthal et al., Radiology: Artificial Intelligence 2023).</translation>
    </message>
    <message>
      <source>Segment</source>
      <translation>Segmentieren</translation>
    </message>
    <message>
      <source>Segment the loaded CT</source>
      <translation>Das geladene CT segmentieren</translation>
    </message>
    <message>
      <source>Review</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Check the regions where the model is uncertain</source>
      <translation>Die Bereiche prüfen, in denen das Modell unsicher ist</translation>
    </message>
    <message>
      <source>Export</source>
      <translation>Export</translation>
    </message>
    <message>
      <source>Store the corrections in a dataset</source>
      <translation>Die Korrekturen in einem Datensatz ablegen</translation>
    </message>
    <message>
      <source>Learn</source>
      <translation>Lernen</translation>
    </message>
    <message>
      <source>Fine-tune the model on the corrections</source>
      <translation>Das Modell mit den Korrekturen nachtrainieren</translation>
    </message>
    <message>
      <source>...</source>
      <translation>...</translation>
    </message>
    <message>
      <source>Engine, weights and settings</source>
      <translation>Engine, Gewichte und Einstellungen</translation>
    </message>
    <message>
      <source>Earlier messages</source>
      <translation>Frühere Meldungen</translation>
    </message>
    <message>
      <source>Show the details of this message</source>
      <translation>Die Details dieser Meldung zeigen</translation>
    </message>
    <message>
      <source>Details</source>
      <translation>Details</translation>
    </message>
    <message>
      <source>Hide this message; it stays among the earlier ones</source>
      <translation>Diese Meldung ausblenden; sie bleibt unter den früheren</translation>
    </message>
    <message>
      <source>Close</source>
      <translation>Schließen</translation>
    </message>
    <message>
      <source>Restore</source>
      <translation>Wiederherstellen</translation>
    </message>
    <message>
      <source>Bring the CT and your edits back into the scene</source>
      <translation>Das CT und Ihre Bearbeitungen in die Szene zurückholen</translation>
    </message>
    <message>
      <source>Discard</source>
      <translation>Verwerfen</translation>
    </message>
    <message>
      <source>Delete these unsaved edits for good</source>
      <translation>Diese nicht gespeicherten Bearbeitungen endgültig löschen</translation>
    </message>
    <message>
      <source>Later</source>
      <translation>Später</translation>
    </message>
    <message>
      <source>Keep them, and ask again when Slicer is started</source>
      <translation>Behalten und beim nächsten Start von Slicer erneut fragen</translation>
    </message>
  </context>
  <context>
    <name>EditingFace</name>
    <message>
      <source>List</source>
      <translation>Liste</translation>
    </message>
    <message>
      <source>Back to the list of regions</source>
      <translation>Zurück zur Liste der Bereiche</translation>
    </message>
    <message>
      <source>Previous region</source>
      <translation>Vorheriger Bereich</translation>
    </message>
    <message>
      <source>Next region</source>
      <translation>Nächster Bereich</translation>
    </message>
    <message>
      <source>Show or hide the options of the effect</source>
      <translation>Die Optionen des Werkzeugs ein- oder ausblenden</translation>
    </message>
    <message>
      <source>Only in the current region</source>
      <translation>Nur im aktuellen Bereich</translation>
    </message>
    <message>
      <source>Edits outside of the region's box have no effect</source>
      <translation>Bearbeitungen außerhalb des Bereichs bleiben ohne Wirkung</translation>
    </message>
    <message>
      <source>Search or add</source>
      <translation>Suchen oder hinzufügen</translation>
    </message>
    <message>
      <source>Finds a structure in the table, and offers to add one that the model did not find</source>
      <translation>Findet eine Struktur in der Tabelle und bietet an, eine vom Modell nicht gefundene hinzuzufügen</translation>
    </message>
    <message>
      <source>Add this structure, which has no segment yet; the arrow lists others that match</source>
      <translation>Diese Struktur hinzufügen, die noch kein Segment hat; der Pfeil zeigt weitere passende</translation>
    </message>
  </context>
  <context>
    <name>ExportPage</name>
    <message>
      <source>What would be stored, what is unusual first</source>
      <translation>Was abgelegt würde, Ungewöhnliches zuerst</translation>
    </message>
    <message>
      <source>Which structures are these segments?</source>
      <translation>Welche Strukturen sind diese Segmente?</translation>
    </message>
    <message>
      <source>Segments that the model does not know: choose the structure of each, or leave it out</source>
      <translation>Segmente, die das Modell nicht kennt: für jedes die Struktur wählen oder es weglassen</translation>
    </message>
    <message>
      <source>Segment</source>
      <translation>Segment</translation>
    </message>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>Dataset:</source>
      <translation>Datensatz:</translation>
    </message>
    <message>
      <source>Folder, for example Dataset801_Liver</source>
      <translation>Ordner, z. B. Dataset801_Liver</translation>
    </message>
    <message>
      <source>Folder of an nnU-Net dataset; it is made if it is not there</source>
      <translation>Ordner eines nnU-Net-Datensatzes; er wird angelegt, wenn es ihn nicht gibt</translation>
    </message>
    <message>
      <source>...</source>
      <translation>...</translation>
    </message>
    <message>
      <source>Choose a folder</source>
      <translation>Ordner wählen</translation>
    </message>
    <message>
      <source>Unreviewed:</source>
      <translation>Ungeprüft:</translation>
    </message>
    <message>
      <source>How to treat voxels that you did not review</source>
      <translation>Wie Voxel behandelt werden, die Sie nicht geprüft haben</translation>
    </message>
    <message>
      <source>Patient ID:</source>
      <translation>Patienten-ID:</translation>
    </message>
    <message>
      <source>none yet</source>
      <translation>noch keine</translation>
    </message>
    <message>
      <source>Keeps all images of a patient on one side of the training / test split; never stored in the dataset</source>
      <translation>Hält alle Bilder eines Patienten zusammen, entweder im Training oder im Test; wird nie im Datensatz gespeichert</translation>
    </message>
    <message>
      <source>Annotator:</source>
      <translation>Bearbeitet von:</translation>
    </message>
    <message>
      <source>Your name</source>
      <translation>Ihr Name</translation>
    </message>
    <message>
      <source>Kept with the case in the dataset</source>
      <translation>Wird mit dem Fall im Datensatz gespeichert</translation>
    </message>
    <message>
      <source>Notes:</source>
      <translation>Notizen:</translation>
    </message>
    <message>
      <source>Kept with the case in the dataset; do not name the patient</source>
      <translation>Wird mit dem Fall im Datensatz gespeichert; nennen Sie den Patienten nicht</translation>
    </message>
    <message>
      <source>Export corrections</source>
      <translation>Exportieren</translation>
    </message>
    <message>
      <source>Store the case in the dataset</source>
      <translation>Den Fall im Datensatz ablegen</translation>
    </message>
    <message>
      <source>Preview export</source>
      <translation>Exportvorschau</translation>
    </message>
    <message>
      <source>Compare with the prediction and tell exactly what would be written; nothing is stored</source>
      <translation>Mit der Vorhersage vergleichen und genau angeben, was geschrieben würde; nichts wird gespeichert</translation>
    </message>
    <message>
      <source>Cases...</source>
      <translation>Fälle...</translation>
    </message>
    <message>
      <source>The cases of the dataset: open or remove them</source>
      <translation>Die Fälle des Datensatzes: öffnen oder entfernen</translation>
    </message>
    <message>
      <source>Cases of the dataset:</source>
      <translation>Fälle des Datensatzes:</translation>
    </message>
    <message>
      <source>Cases of the dataset; a double click opens one</source>
      <translation>Fälle des Datensatzes; ein Doppelklick öffnet einen</translation>
    </message>
    <message>
      <source>Case</source>
      <translation>Fall</translation>
    </message>
    <message>
      <source>Revision</source>
      <translation>Revision</translation>
    </message>
    <message>
      <source>Not annotated yet</source>
      <translation>Noch offen</translation>
    </message>
    <message>
      <source>Open</source>
      <translation>Öffnen</translation>
    </message>
    <message>
      <source>Bring the case into the scene to correct it further</source>
      <translation>Den Fall zur weiteren Korrektur in die Szene laden</translation>
    </message>
    <message>
      <source>Remove...</source>
      <translation>Entfernen...</translation>
    </message>
    <message>
      <source>Remove the case with its history</source>
      <translation>Den Fall mit seinem Verlauf entfernen</translation>
    </message>
    <message>
      <source>Read the dataset again</source>
      <translation>Den Datensatz neu lesen</translation>
    </message>
    <message>
      <source>Refresh</source>
      <translation>Neu laden</translation>
    </message>
    <message>
      <source>Back</source>
      <translation>Zurück</translation>
    </message>
    <message>
      <source>Back to the export</source>
      <translation>Zurück zum Export</translation>
    </message>
  </context>
  <context>
    <name>LearnPage</name>
    <message>
      <source>Project:</source>
      <translation>Projekt:</translation>
    </message>
    <message>
      <source>Folder of the project</source>
      <translation>Ordner des Projekts</translation>
    </message>
    <message>
      <source>Where the versions of the fine-tuned model are stored</source>
      <translation>Wo die Versionen des nachtrainierten Modells liegen</translation>
    </message>
    <message>
      <source>...</source>
      <translation>...</translation>
    </message>
    <message>
      <source>Choose a folder</source>
      <translation>Ordner wählen</translation>
    </message>
    <message>
      <source>Training</source>
      <translation>Training</translation>
    </message>
    <message>
      <source>Is it worthwhile, what would be trained, progress, decision</source>
      <translation>Ob es sich lohnt, was trainiert würde, Fortschritt, Ergebnis</translation>
    </message>
    <message>
      <source>Cases</source>
      <translation>Fälle</translation>
    </message>
    <message>
      <source>Which cases train the model, which measure it, and what their structures are</source>
      <translation>Welche Fälle das Modell trainieren, an welchen es gemessen wird, und was ihre Strukturen sind</translation>
    </message>
    <message>
      <source>Versions</source>
      <translation>Versionen</translation>
    </message>
    <message>
      <source>All versions of the model: compare, choose, export</source>
      <translation>Alle Versionen des Modells: vergleichen, wählen, exportieren</translation>
    </message>
    <message>
      <source>Model:</source>
      <translation>Modell:</translation>
    </message>
    <message>
      <source>The model that learns; it is copied and never changed</source>
      <translation>Das Modell, das lernt; es wird kopiert und nie verändert</translation>
    </message>
    <message>
      <source>Dataset:</source>
      <translation>Datensatz:</translation>
    </message>
    <message>
      <source>New project</source>
      <translation>Neues Projekt</translation>
    </message>
    <message>
      <source>Create a project with this model and dataset</source>
      <translation>Ein Projekt mit diesem Modell und Datensatz anlegen</translation>
    </message>
    <message>
      <source>Whether a training is worthwhile, and what it would do</source>
      <translation>Ob sich ein Training lohnt, und was es tun würde</translation>
    </message>
    <message>
      <source>Epochs:</source>
      <translation>Epochen:</translation>
    </message>
    <message>
      <source>Of each member</source>
      <translation>Je Ensemblemitglied</translation>
    </message>
    <message>
      <source>automatic</source>
      <translation>automatisch</translation>
    </message>
    <message>
      <source>Frozen stages:</source>
      <translation>Eingefroren:</translation>
    </message>
    <message>
      <source>Encoder stages to freeze</source>
      <translation>Stufen des Encoders, die eingefroren werden</translation>
    </message>
    <message>
      <source>Iterations:</source>
      <translation>Iterationen:</translation>
    </message>
    <message>
      <source>In each epoch</source>
      <translation>Je Epoche</translation>
    </message>
    <message>
      <source>Learning rate:</source>
      <translation>Lernrate:</translation>
    </message>
    <message>
      <source>Peak learning rate</source>
      <translation>Höchste Lernrate</translation>
    </message>
    <message>
      <source>Members:</source>
      <translation>Mitglieder:</translation>
    </message>
    <message>
      <source>Of the new ensemble</source>
      <translation>Des neuen Ensembles</translation>
    </message>
    <message>
      <source>Replay:</source>
      <translation>Wiederholung:</translation>
    </message>
    <message>
      <source>Share of replayed images, from 0 to 1</source>
      <translation>Anteil wiederholter Bilder, von 0 bis 1</translation>
    </message>
    <message>
      <source>What is automatic suits the cases and this computer. Preview training shows what it is.</source>
      <translation>Automatische Werte richten sich nach den Fällen und diesem Computer. Die Trainingsvorschau zeigt sie.</translation>
    </message>
    <message>
      <source>More</source>
      <translation>Mehr</translation>
    </message>
    <message>
      <source>Training settings</source>
      <translation>Trainingseinstellungen</translation>
    </message>
    <message>
      <source>Preview training</source>
      <translation>Trainingsvorschau</translation>
    </message>
    <message>
      <source>Cases, settings, time and memory; nothing is trained</source>
      <translation>Fälle, Einstellungen, Dauer und Speicher; nichts wird trainiert</translation>
    </message>
    <message>
      <source>Fine-tune</source>
      <translation>Trainieren</translation>
    </message>
    <message>
      <source>Train a new version on the corrections, measure it, and use it if it is better</source>
      <translation>Eine neue Version mit den Korrekturen trainieren, messen und verwenden, wenn sie besser ist</translation>
    </message>
    <message>
      <source>Keep training after Slicer closes</source>
      <translation>Nach dem Schließen von Slicer weiter trainieren</translation>
    </message>
    <message>
      <source>Otherwise it stops when Slicer is closed, and can be resumed</source>
      <translation>Sonst hält es beim Schließen von Slicer an und kann fortgesetzt werden</translation>
    </message>
    <message>
      <source>Pause</source>
      <translation>Pause</translation>
    </message>
    <message>
      <source>Free the computer for a while; nothing is lost</source>
      <translation>Den Computer eine Weile freigeben; nichts geht verloren</translation>
    </message>
    <message>
      <source>Cancel training</source>
      <translation>Training abbrechen</translation>
    </message>
    <message>
      <source>End it for good; no version is made</source>
      <translation>Endgültig beenden; es entsteht keine Version</translation>
    </message>
    <message>
      <source>Dice on the held-out cases, before and after the training</source>
      <translation>Dice an den zurückgehaltenen Fällen, vor und nach dem Training</translation>
    </message>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>Before</source>
      <translation>Vorher</translation>
    </message>
    <message>
      <source>After</source>
      <translation>Nachher</translation>
    </message>
    <message>
      <source>Voxels</source>
      <translation>Voxel</translation>
    </message>
    <message>
      <source>Curves</source>
      <translation>Kurven</translation>
    </message>
    <message>
      <source>Loss and Dice of the training</source>
      <translation>Loss und Dice im Training</translation>
    </message>
    <message>
      <source>Next training</source>
      <translation>Nächstes Training</translation>
    </message>
    <message>
      <source>Go back to the plan; the decision stays under Versions</source>
      <translation>Zurück zum Plan; das Ergebnis bleibt unter Versionen</translation>
    </message>
    <message>
      <source>Cases of the dataset, and what each is used for</source>
      <translation>Fälle des Datensatzes und ihre Verwendung</translation>
    </message>
    <message>
      <source>Case</source>
      <translation>Fall</translation>
    </message>
    <message>
      <source>Use</source>
      <translation>Verwendung</translation>
    </message>
    <message>
      <source>State</source>
      <translation>Zustand</translation>
    </message>
    <message>
      <source>Patient ID of the selected case</source>
      <translation>Patienten-ID des ausgewählten Falls</translation>
    </message>
    <message>
      <source>Keeps all images of a patient on one side; never stored in the dataset</source>
      <translation>Hält alle Bilder eines Patienten zusammen; wird nie im Datensatz gespeichert</translation>
    </message>
    <message>
      <source>Assign patient ID</source>
      <translation>Patienten-ID zuordnen</translation>
    </message>
    <message>
      <source>Decides whether the selected case is trained on or held out</source>
      <translation>Entscheidet, ob der ausgewählte Fall zum Training oder zum Messen dient</translation>
    </message>
    <message>
      <source>Mark whole case as reviewed</source>
      <translation>Als ganz geprüft markieren</translation>
    </message>
    <message>
      <source>For a held-out case: all of it is used to measure versions from now on</source>
      <translation>Für einen zurückgehaltenen Fall: Von jetzt an dient er ganz zum Messen der Versionen</translation>
    </message>
    <message>
      <source>Structures of the dataset that the model knows; the others are new</source>
      <translation>Strukturen des Datensatzes, die das Modell kennt; die anderen sind neu</translation>
    </message>
    <message>
      <source>In the model</source>
      <translation>Im Modell</translation>
    </message>
    <message>
      <source>All trained versions; the current one is marked</source>
      <translation>Alle trainierten Versionen; die aktuelle ist markiert</translation>
    </message>
    <message>
      <source>Version</source>
      <translation>Version</translation>
    </message>
    <message>
      <source>From</source>
      <translation>Vorgänger</translation>
    </message>
    <message>
      <source>Mean Dice</source>
      <translation>Ø Dice</translation>
    </message>
    <message>
      <source>What is compared</source>
      <translation>Was verglichen wird</translation>
    </message>
    <message>
      <source>Close</source>
      <translation>Schließen</translation>
    </message>
    <message>
      <source>Show the versions again</source>
      <translation>Die Versionen wieder anzeigen</translation>
    </message>
    <message>
      <source>Means over the held-out cases</source>
      <translation>Mittelwerte über die zurückgehaltenen Fälle</translation>
    </message>
    <message>
      <source>Compare</source>
      <translation>Vergleichen</translation>
    </message>
    <message>
      <source>With the current version, on the held-out cases</source>
      <translation>Mit der aktuellen Version, an den zurückgehaltenen Fällen</translation>
    </message>
    <message>
      <source>Make current</source>
      <translation>Verwenden</translation>
    </message>
    <message>
      <source>Use the selected version from now on, whatever was measured</source>
      <translation>Die ausgewählte Version von jetzt an verwenden, unabhängig von der Messung</translation>
    </message>
    <message>
      <source>Roll back</source>
      <translation>Zurücknehmen</translation>
    </message>
    <message>
      <source>Make current what was current before</source>
      <translation>Die zuvor aktuelle Version wieder verwenden</translation>
    </message>
    <message>
      <source>Export...</source>
      <translation>Export...</translation>
    </message>
    <message>
      <source>Into one file, for another installation</source>
      <translation>In eine Datei, für eine andere Installation</translation>
    </message>
    <message>
      <source>Import...</source>
      <translation>Import...</translation>
    </message>
    <message>
      <source>From such a file</source>
      <translation>Aus einer solchen Datei</translation>
    </message>
  </context>
  <context>
    <name>ReviewPage</name>
    <message>
      <source>Segmentation:</source>
      <translation>Segmentierung:</translation>
    </message>
    <message>
      <source>The segmentation to review; one that ActiveSeg made</source>
      <translation>Die zu prüfende Segmentierung; eine, die ActiveSeg erzeugt hat</translation>
    </message>
    <message>
      <source>Structures with an unusual shape, as they were predicted. Choose what is unusual to see it in the views</source>
      <translation>Strukturen mit auffälliger Form, wie sie vorhergesagt wurden. Wählen Sie eine Auffälligkeit, um sie in den Ansichten zu sehen</translation>
    </message>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>Show only the regions of structures with these letters in their names</source>
      <translation>Nur Bereiche von Strukturen zeigen, deren Namen diese Buchstaben enthalten</translation>
    </message>
    <message>
      <source>Show only the regions in this state</source>
      <translation>Nur Bereiche in diesem Zustand zeigen</translation>
    </message>
    <message>
      <source>Find regions in...</source>
      <translation>Bereiche suchen...</translation>
    </message>
    <message>
      <source>Choose structures, and find the regions to review again in these only</source>
      <translation>Strukturen wählen und die zu prüfenden Bereiche nur in diesen neu suchen</translation>
    </message>
    <message>
      <source>Rest of case...</source>
      <translation>Rest...</translation>
    </message>
    <message>
      <source>Apply to the rest of this case what you have corrected</source>
      <translation>Ihre Korrekturen auf den Rest dieses Falls anwenden</translation>
    </message>
    <message>
      <source>Regions to review, worst first. Choose one to see it in the views; right-click the header for columns</source>
      <translation>Zu prüfende Bereiche, der unsicherste zuerst. Wählen Sie einen, um ihn in den Ansichten zu sehen; Rechtsklick auf die Kopfzeile: Spalten wählen</translation>
    </message>
    <message>
      <source>What other members of the ensemble would draw. Move the mouse over one, or choose it, to see it in the views; Return takes it. White: as it is now; yellow: the alternative</source>
      <translation>Was andere Ensemblemitglieder zeichnen würden. Zeigen Sie mit der Maus auf eine Alternative oder wählen Sie sie, um sie in den Ansichten zu sehen; die Eingabetaste übernimmt sie. Weiß: wie jetzt; gelb: die Alternative</translation>
    </message>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
    <message>
      <source>Show the next alternative in the views (J)</source>
      <translation>Die nächste Alternative in den Ansichten zeigen (J)</translation>
    </message>
    <message>
      <source>Take</source>
      <translation>Übernehmen</translation>
    </message>
    <message>
      <source>Write the chosen alternative into the segmentation (O)</source>
      <translation>Die gewählte Alternative in die Segmentierung schreiben (O)</translation>
    </message>
    <message>
      <source>Heat map</source>
      <translation>Heatmap</translation>
    </message>
    <message>
      <source>Colour where the model is uncertain (H)</source>
      <translation>Einfärben, wo das Modell unsicher ist (H)</translation>
    </message>
    <message>
      <source>Outline</source>
      <translation>Umriss</translation>
    </message>
    <message>
      <source>Show the structures as outlines only, so that the CT and the heat map can be seen</source>
      <translation>Die Strukturen nur als Umrisse zeigen, damit CT und Heatmap zu sehen sind</translation>
    </message>
    <message>
      <source>Opacity</source>
      <translation>Deckkraft</translation>
    </message>
    <message>
      <source>Opacity of the heat map</source>
      <translation>Deckkraft der Heatmap</translation>
    </message>
    <message>
      <source>Threshold</source>
      <translation>Schwelle</translation>
    </message>
    <message>
      <source>Less uncertainty than this is not coloured</source>
      <translation>Geringere Unsicherheit wird nicht eingefärbt</translation>
    </message>
    <message>
      <source>3D</source>
      <translation>3D</translation>
    </message>
    <message>
      <source>Show structures in 3D (D)</source>
      <translation>Strukturen in 3D zeigen (D)</translation>
    </message>
    <message>
      <source>...</source>
      <translation>...</translation>
    </message>
    <message>
      <source>How uncertainty is measured, the legend of the colours, what is shown in 3D</source>
      <translation>Wie Unsicherheit gemessen wird, Legende der Farben, was in 3D zu sehen ist</translation>
    </message>
    <message>
      <source>Find the regions to review in these structures only:</source>
      <translation>Zu prüfende Bereiche nur in diesen Strukturen suchen:</translation>
    </message>
    <message>
      <source>Show only structures with these letters in their names</source>
      <translation>Nur Strukturen zeigen, deren Namen diese Buchstaben enthalten</translation>
    </message>
    <message>
      <source>Structures to find regions in</source>
      <translation>Strukturen, in denen Bereiche gesucht werden</translation>
    </message>
    <message>
      <source>Find regions</source>
      <translation>Bereiche suchen</translation>
    </message>
    <message>
      <source>Find the regions to review again, in the ticked structures only</source>
      <translation>Die zu prüfenden Bereiche neu suchen, nur in den angekreuzten Strukturen</translation>
    </message>
    <message>
      <source>Untick all</source>
      <translation>Alle abwählen</translation>
    </message>
    <message>
      <source>No focus: regions come from all structures</source>
      <translation>Kein Fokus: Bereiche aus allen Strukturen</translation>
    </message>
    <message>
      <source>Back to the list</source>
      <translation>Zurück zur Liste</translation>
    </message>
    <message>
      <source>Leave the list of regions as it is</source>
      <translation>Die Liste der Bereiche lassen, wie sie ist</translation>
    </message>
    <message>
      <source>The structure that the click is about; type to search</source>
      <translation>Die Struktur, um die es beim Klick geht; zum Suchen tippen</translation>
    </message>
    <message>
      <source>Beyond frame</source>
      <translation>Über den Rahmen</translation>
    </message>
    <message>
      <source>Let the answer reach outside of the region's frame, around the click</source>
      <translation>Die Antwort darf um den Klick herum über den Rahmen des Bereichs hinausreichen</translation>
    </message>
    <message>
      <source>Remove last</source>
      <translation>Letzten entfernen</translation>
    </message>
    <message>
      <source>Remove the last click, and answer without it</source>
      <translation>Den letzten Klick entfernen und ohne ihn antworten</translation>
    </message>
    <message>
      <source>Clear</source>
      <translation>Leeren</translation>
    </message>
    <message>
      <source>Remove all clicks and their answer; the segmentation stays as it is</source>
      <translation>Alle Klicks und ihre Antwort entfernen; die Segmentierung bleibt, wie sie ist</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>End the click, or what is being computed for it (Esc)</source>
      <translation>Den Klick beenden, oder was für ihn berechnet wird (Esc)</translation>
    </message>
    <message>
      <source>Previous</source>
      <translation>Zurück</translation>
    </message>
    <message>
      <source>Go to the region before (Shift+N)</source>
      <translation>Zum vorherigen Bereich gehen (Shift+N)</translation>
    </message>
    <message>
      <source>Next</source>
      <translation>Vor</translation>
    </message>
    <message>
      <source>Go to the next region (N)</source>
      <translation>Zum nächsten Bereich gehen (N)</translation>
    </message>
    <message>
      <source>Accept</source>
      <translation>Annehmen</translation>
    </message>
    <message>
      <source>Mark the region as correct, and go to the next open one (C)</source>
      <translation>Den Bereich als richtig markieren und zum nächsten offenen gehen (C)</translation>
    </message>
    <message>
      <source>Skip</source>
      <translation>Überspringen</translation>
    </message>
    <message>
      <source>Skip the region, and go to the next open one: it is not used as ground truth (K)</source>
      <translation>Den Bereich überspringen und zum nächsten offenen gehen: Er gilt nicht als Referenz (K)</translation>
    </message>
    <message>
      <source>Reopen</source>
      <translation>Öffnen</translation>
    </message>
    <message>
      <source>Take back what was decided about the region (Shift+C)</source>
      <translation>Den Bereich wieder öffnen: die Entscheidung zurücknehmen (Shift+C)</translation>
    </message>
    <message>
      <source>Edit</source>
      <translation>Ändern</translation>
    </message>
    <message>
      <source>Correct the region with the Segment Editor, or return to the list (Shift+D)</source>
      <translation>Den Bereich mit dem Segment Editor korrigieren, oder zurück zur Liste (Shift+D)</translation>
    </message>
    <message>
      <source>Click</source>
      <translation>Klick</translation>
    </message>
    <message>
      <source>The next click in a view says: this belongs to the structure (M)</source>
      <translation>Der nächste Klick in einer Ansicht sagt: Das gehört zur Struktur (M)</translation>
    </message>
    <message>
      <source>Not this</source>
      <translation>Nicht dies</translation>
    </message>
    <message>
      <source>The next click in a view says: this does not belong to it (Shift+M)</source>
      <translation>Der nächste Klick in einer Ansicht sagt: Das gehört nicht dazu (Shift+M)</translation>
    </message>
    <message>
      <source>Undo</source>
      <translation>Rückgängig</translation>
    </message>
    <message>
      <source>Undo (U)</source>
      <translation>Rückgängig (U)</translation>
    </message>
    <message>
      <source>Redo</source>
      <translation>Wiederholen</translation>
    </message>
    <message>
      <source>Redo (Shift+U)</source>
      <translation>Wiederholen (Shift+U)</translation>
    </message>
    <message>
      <source>?</source>
      <translation>?</translation>
    </message>
    <message>
      <source>Show all keys (?)</source>
      <translation>Alle Tasten zeigen (?)</translation>
    </message>
  </context>
  <context>
    <name>SegmentPage</name>
    <message>
      <source>CT:</source>
      <translation>CT:</translation>
    </message>
    <message>
      <source>The CT to segment</source>
      <translation>Das CT, das segmentiert wird</translation>
    </message>
    <message>
      <source>Model</source>
      <translation>Modell</translation>
    </message>
    <message>
      <source>Names of models, and of what they segment</source>
      <translation>Namen von Modellen und von dem, was sie segmentieren</translation>
    </message>
    <message>
      <source>Search models and structures, such as pancreas</source>
      <translation>Modell oder Struktur suchen, z. B. pancreas</translation>
    </message>
    <message>
      <source>The model to segment with</source>
      <translation>Das Modell, mit dem segmentiert wird</translation>
    </message>
    <message>
      <source>Add weights...</source>
      <translation>Gewichte hinzufügen...</translation>
    </message>
    <message>
      <source>Add nnU-Net...</source>
      <translation>nnU-Net wählen...</translation>
    </message>
    <message>
      <source>Use an nnU-Net model from a folder</source>
      <translation>Ein nnU-Net-Modell aus einem Ordner verwenden</translation>
    </message>
    <message>
      <source>Structures</source>
      <translation>Strukturen</translation>
    </message>
    <message>
      <source>Show only the structures with these letters in their names</source>
      <translation>Nur die Strukturen mit diesen Buchstaben im Namen zeigen</translation>
    </message>
    <message>
      <source>Search structures</source>
      <translation>Strukturen suchen</translation>
    </message>
    <message>
      <source>What is segmented</source>
      <translation>Was segmentiert wird</translation>
    </message>
    <message>
      <source>All</source>
      <translation>Alle</translation>
    </message>
    <message>
      <source>Tick all that are listed here now</source>
      <translation>Alle ankreuzen, die gerade aufgelistet sind</translation>
    </message>
    <message>
      <source>None</source>
      <translation>Keine</translation>
    </message>
    <message>
      <source>Untick all that are listed here now</source>
      <translation>Alle abwählen, die gerade aufgelistet sind</translation>
    </message>
    <message>
      <source>Options</source>
      <translation>Optionen</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Gerät:</translation>
    </message>
    <message>
      <source>Device for inference</source>
      <translation>Gerät für die Berechnung</translation>
    </message>
    <message>
      <source>Exact mode</source>
      <translation>Exakter Modus</translation>
    </message>
    <message>
      <source>Reproduces the original package's result (slower)</source>
      <translation>Liefert genau das Ergebnis des Originalpakets (langsamer)</translation>
    </message>
    <message>
      <source>Members:</source>
      <translation>Mitglieder:</translation>
    </message>
    <message>
      <source>Ensemble members used to estimate uncertainty</source>
      <translation>Ensemblemitglieder, aus denen die Unsicherheit geschätzt wird</translation>
    </message>
    <message>
      <source>Regions:</source>
      <translation>Bereiche:</translation>
    </message>
    <message>
      <source>How many regions to review are listed</source>
      <translation>Wie viele zu prüfende Bereiche aufgelistet werden</translation>
    </message>
    <message>
      <source>Show a quick low-resolution preview first</source>
      <translation>Zuerst eine schnelle, grobe Vorschau zeigen</translation>
    </message>
    <message>
      <source>A first result in a fraction of the time, for models that have a low-resolution variant</source>
      <translation>Ein erstes Ergebnis in einem Bruchteil der Zeit, bei Modellen mit einer gröberen Variante</translation>
    </message>
    <message>
      <source>Use a lower-resolution model if memory runs out</source>
      <translation>Bei Speichermangel ein gröberes Modell nehmen</translation>
    </message>
    <message>
      <source>Otherwise the job ends with an error</source>
      <translation>Sonst endet der Auftrag mit einem Fehler</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>End it at once; nothing is left behind</source>
      <translation>Sofort beenden; es bleibt nichts zurück</translation>
    </message>
    <message>
      <source>Segment</source>
      <translation>Segmentieren</translation>
    </message>
  </context>
  <context>
    <name>SettingsPage</name>
    <message>
      <source>Engine</source>
      <translation>Engine</translation>
    </message>
    <message>
      <source>End it; what was downloaded is kept</source>
      <translation>Beenden; was heruntergeladen wurde, bleibt erhalten</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>Install ActiveSeg's own engine...</source>
      <translation>Engine von ActiveSeg installieren...</translation>
    </message>
    <message>
      <source>Shows size and location first</source>
      <translation>Zeigt zuerst Größe und Ort</translation>
    </message>
    <message>
      <source>Update</source>
      <translation>Aktualisieren</translation>
    </message>
    <message>
      <source>To the packages of this version of ActiveSeg; shows the size first</source>
      <translation>Auf die Pakete dieser Version von ActiveSeg; zeigt zuerst die Größe</translation>
    </message>
    <message>
      <source>Repair</source>
      <translation>Reparieren</translation>
    </message>
    <message>
      <source>Installs the engine again with the same settings; shows the size first</source>
      <translation>Installiert die Engine mit denselben Einstellungen neu; zeigt zuerst die Größe</translation>
    </message>
    <message>
      <source>Check</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Compare every installed file with the packages' records; nothing is changed</source>
      <translation>Jede installierte Datei mit den Angaben der Pakete vergleichen; nichts wird verändert</translation>
    </message>
    <message>
      <source>Stop</source>
      <translation>Beenden</translation>
    </message>
    <message>
      <source>Ends the engine and frees its memory; it starts again when it is needed</source>
      <translation>Beendet die Engine und gibt ihren Speicher frei; sie startet wieder, wenn sie gebraucht wird</translation>
    </message>
    <message>
      <source>Remove...</source>
      <translation>Entfernen...</translation>
    </message>
    <message>
      <source>Deletes the engine; datasets, models and projects stay</source>
      <translation>Löscht die Engine; Datensätze, Modelle und Projekte bleiben</translation>
    </message>
    <message>
      <source>Use my own Python...</source>
      <translation>Eigenes Python verwenden...</translation>
    </message>
    <message>
      <source>A Python that has torch, nnunetv2 and TotalSegmentator already; it is never changed</source>
      <translation>Ein Python, das torch, nnunetv2 und TotalSegmentator schon enthält; es wird nie verändert</translation>
    </message>
    <message>
      <source>Installation</source>
      <translation>Installation</translation>
    </message>
    <message>
      <source>Weights</source>
      <translation>Gewichte</translation>
    </message>
    <message>
      <source>Whose weights</source>
      <translation>Wessen Gewichte</translation>
    </message>
    <message>
      <source>Weights are downloaded when a model is first used. Without internet, add them from a file.</source>
      <translation>Gewichte werden bei der ersten Verwendung eines Modells heruntergeladen. Ohne Internet fügen Sie sie aus einer Datei hinzu.</translation>
    </message>
    <message>
      <source>Add weights from a file...</source>
      <translation>Gewichte aus einer Datei hinzufügen...</translation>
    </message>
    <message>
      <source>A zip of TotalSegmentator's weights that was downloaded on another computer</source>
      <translation>Eine Zip-Datei mit Gewichten von TotalSegmentator, die auf einem anderen Computer heruntergeladen wurde</translation>
    </message>
    <message>
      <source>Some of TotalSegmentator's models need a licence number:</source>
      <translation>Einige Modelle von TotalSegmentator brauchen eine Lizenznummer:</translation>
    </message>
    <message>
      <source>A licence number that TotalSegmentator gave you</source>
      <translation>Eine Lizenznummer, die Sie von TotalSegmentator haben</translation>
    </message>
    <message>
      <source>licence number</source>
      <translation>Lizenznummer</translation>
    </message>
    <message>
      <source>Keep the number for the models that need it</source>
      <translation>Die Nummer für die Modelle speichern, die sie brauchen</translation>
    </message>
    <message>
      <source>Save licence number</source>
      <translation>Nummer speichern</translation>
    </message>
    <message>
      <source>Send usage statistics to TotalSegmentator</source>
      <translation>Nutzungsstatistik an TotalSegmentator senden</translation>
    </message>
    <message>
      <source>Off: nothing is sent</source>
      <translation>Aus: Es wird nichts gesendet</translation>
    </message>
    <message>
      <source>nnInteractive can answer clicks, too. Its weights are not part of ActiveSeg: get them from their authors, if their licence allows what you do.</source>
      <translation>Auch nnInteractive kann auf Klicks antworten. Seine Gewichte sind nicht Teil von ActiveSeg: Laden Sie sie bei den Autoren, wenn deren Lizenz Ihren Zweck erlaubt.</translation>
    </message>
    <message>
      <source>Choose the folder of the weights...</source>
      <translation>Ordner der Gewichte wählen...</translation>
    </message>
    <message>
      <source>The folder with plans.json, fold_0 and LICENSE in it; it stays where it is</source>
      <translation>Der Ordner mit plans.json, fold_0 und LICENSE; er bleibt, wo er ist</translation>
    </message>
    <message>
      <source>The licence of these weights</source>
      <translation>Die Lizenz dieser Gewichte</translation>
    </message>
    <message>
      <source>Confirm this licence</source>
      <translation>Diese Lizenz bestätigen</translation>
    </message>
    <message>
      <source>I have read the licence, and what I do with these weights keeps to it</source>
      <translation>Ich habe die Lizenz gelesen und verwende diese Gewichte nur, wie sie es erlaubt</translation>
    </message>
    <message>
      <source>Messages</source>
      <translation>Meldungen</translation>
    </message>
    <message>
      <source>The latest messages, the newest first</source>
      <translation>Die letzten Meldungen, die neueste zuerst</translation>
    </message>
    <message>
      <source>Copy</source>
      <translation>Kopieren</translation>
    </message>
    <message>
      <source>Copies the chosen message with its details</source>
      <translation>Kopiert die gewählte Meldung mit ihren Details</translation>
    </message>
    <message>
      <source>Show the details of the chosen message</source>
      <translation>Die Details der gewählten Meldung zeigen</translation>
    </message>
    <message>
      <source>Details</source>
      <translation>Details</translation>
    </message>
    <message>
      <source>Log</source>
      <translation>Protokoll</translation>
    </message>
    <message>
      <source>What the engine and its installation have printed</source>
      <translation>Was die Engine und ihre Installation ausgegeben haben</translation>
    </message>
    <message>
      <source>Show the folder in the file manager</source>
      <translation>Den Ordner im Dateimanager zeigen</translation>
    </message>
    <message>
      <source>Open the log's folder</source>
      <translation>Ordner des Protokolls öffnen</translation>
    </message>
  </context>
  <context>
    <name>SetupPage</name>
    <message>
      <source>Installs:</source>
      <translation>Inhalt:</translation>
    </message>
    <message>
      <source>Where:</source>
      <translation>Ort:</translation>
    </message>
    <message>
      <source>Size:</source>
      <translation>Größe:</translation>
    </message>
    <message>
      <source>Time:</source>
      <translation>Dauer:</translation>
    </message>
    <message>
      <source>Later:</source>
      <translation>Später:</translation>
    </message>
    <message>
      <source>Use my own Python...</source>
      <translation>Eigenes Python verwenden...</translation>
    </message>
    <message>
      <source>A Python that has torch, nnunetv2 and TotalSegmentator already; it is never changed</source>
      <translation>Ein Python, das torch, nnunetv2 und TotalSegmentator schon enthält; es wird nie verändert</translation>
    </message>
    <message>
      <source>End it; what was downloaded is kept</source>
      <translation>Beenden; was heruntergeladen wurde, bleibt erhalten</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>Install</source>
      <translation>Installieren</translation>
    </message>
    <message>
      <source>More</source>
      <translation>Mehr</translation>
    </message>
    <message>
      <source>Folder, proxy, no internet, PyTorch build, your own Python</source>
      <translation>Ordner, Proxy, ohne Internet, PyTorch, eigenes Python</translation>
    </message>
    <message>
      <source>Delete what was downloaded</source>
      <translation>Löschen, was heruntergeladen wurde</translation>
    </message>
    <message>
      <source>Remove...</source>
      <translation>Entfernen...</translation>
    </message>
    <message>
      <source>Go on with the engine that is there</source>
      <translation>Mit der vorhandenen Engine weiterarbeiten</translation>
    </message>
    <message>
      <source>Not now</source>
      <translation>Nicht jetzt</translation>
    </message>
    <message>
      <source>Load the sample CT</source>
      <translation>Beispiel-CT laden</translation>
    </message>
    <message>
      <source>A phantom that is made on this computer; it can be looked at without the engine</source>
      <translation>Ein Phantom, das auf diesem Computer erzeugt wird; es lässt sich ohne die Engine ansehen</translation>
    </message>
  </context>
  <context>
    <name>SourcesForm</name>
    <message>
      <source>Folder:</source>
      <translation>Ordner:</translation>
    </message>
    <message>
      <source>Where the engine is installed; empty: the usual folder</source>
      <translation>Wo die Engine installiert wird; leer: der übliche Ordner</translation>
    </message>
    <message>
      <source>Wheels:</source>
      <translation>Pakete:</translation>
    </message>
    <message>
      <source>A folder of wheels (packages), for a computer without internet</source>
      <translation>Ein Ordner mit Wheels (Paketen), für einen Computer ohne Internet</translation>
    </message>
    <message>
      <source>Use only the folder of wheels</source>
      <translation>Nur den Ordner mit Wheels verwenden</translation>
    </message>
    <message>
      <source>Nothing is downloaded; the folder also holds uv</source>
      <translation>Nichts wird heruntergeladen; der Ordner enthält auch uv</translation>
    </message>
    <message>
      <source>Proxy:</source>
      <translation>Proxy:</translation>
    </message>
    <message>
      <source>Remembered for the next start of Slicer, except for the password</source>
      <translation>Wird für den nächsten Start von Slicer gemerkt, ohne das Passwort</translation>
    </message>
    <message>
      <source>http://user:password@host:port</source>
      <translation>http://user:password@host:port</translation>
    </message>
    <message>
      <source>PyTorch:</source>
      <translation>PyTorch:</translation>
    </message>
    <message>
      <source>Which build of PyTorch; automatic looks for a graphics card</source>
      <translation>Für welche Hardware PyTorch gebaut ist; automatisch sucht nach einer Grafikkarte</translation>
    </message>
  </context>
  <context>
    <name>SpreadFace</name>
    <message>
      <source>Untick what should stay as it is; a row leads to where its structure changes most</source>
      <translation>Häkchen weg bei dem, was bleiben soll; eine Zeile führt dorthin, wo sich die Struktur am meisten ändert</translation>
    </message>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>+ mL</source>
      <translation>+ mL</translation>
    </message>
    <message>
      <source>- mL</source>
      <translation>- mL</translation>
    </message>
    <message>
      <source>Apply</source>
      <translation>Anwenden</translation>
    </message>
    <message>
      <source>Change the ticked structures in the rest of the case; Undo takes it back</source>
      <translation>Die Strukturen mit Häkchen im Rest des Falls ändern; Rückgängig nimmt es zurück</translation>
    </message>
    <message>
      <source>Tick all</source>
      <translation>Alle</translation>
    </message>
    <message>
      <source>Tick all structures</source>
      <translation>Häkchen bei allen Strukturen setzen</translation>
    </message>
    <message>
      <source>Untick all</source>
      <translation>Alle abwählen</translation>
    </message>
    <message>
      <source>Untick all structures</source>
      <translation>Häkchen bei allen Strukturen wegnehmen</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>Back to the list; nothing changes</source>
      <translation>Zurück zur Liste; nichts ändert sich</translation>
    </message>
  </context>
  <context>
    <name>panel.alternatives</name>
    <message>
      <source>{what}
White: as it is now; yellow: the alternative.</source>
      <translation>{what}
Weiß: wie jetzt; gelb: die Alternative.</translation>
    </message>
    <message>
      <source>No alternatives here.</source>
      <translation>Hier gibt es keine Alternativen.</translation>
    </message>
    <message>
      <source>nothing here</source>
      <translation>hier nichts</translation>
    </message>
    <message>
      <source>{structure} ({members})</source>
      <translation>{structure} ({members})</translation>
    </message>
    <message>
      <source>as it is now</source>
      <translation>wie jetzt</translation>
    </message>
    <message>
      <source>Your click: {structure}</source>
      <translation>Ihr Klick: {structure}</translation>
    </message>
    <message>
      <source>Your {count} clicks: {structure}</source>
      <translation>Ihre {count} Klicks: {structure}</translation>
    </message>
    <message>
      <source>{votes} of {all} members</source>
      <translation>{votes} von {all} Mitgliedern</translation>
    </message>
    <message>
      <source>{votes} members</source>
      <translation>{votes} Mitglieder</translation>
    </message>
    <message>
      <source>This is how it is now.</source>
      <translation>So ist es jetzt.</translation>
    </message>
    <message>
      <source>+{ml} mL ({count} voxels)</source>
      <translation>+{ml} mL ({count} Voxel)</translation>
    </message>
    <message>
      <source>-{ml} mL ({count} voxels)</source>
      <translation>-{ml} mL ({count} Voxel)</translation>
    </message>
  </context>
  <context>
    <name>panel.at_start</name>
    <message>
      <source>Open ActiveSeg</source>
      <translation>ActiveSeg öffnen</translation>
    </message>
    <message>
      <source>ActiveSeg: unsaved corrections of {count} case(s)</source>
      <translation>ActiveSeg: nicht gespeicherte Korrekturen (Fälle: {count})</translation>
    </message>
    <message>
      <source>ActiveSeg: the training of {name} has stopped</source>
      <translation>ActiveSeg: Training von {name} angehalten</translation>
    </message>
    <message>
      <source>ActiveSeg: the training of {name} has failed</source>
      <translation>ActiveSeg: Training von {name} fehlgeschlagen</translation>
    </message>
    <message>
      <source>ActiveSeg: the training of {name} is done</source>
      <translation>ActiveSeg: Training von {name} fertig</translation>
    </message>
    <message>
      <source>ActiveSeg: training of {name}</source>
      <translation>ActiveSeg: Training von {name}</translation>
    </message>
  </context>
  <context>
    <name>panel.check_list</name>
    <message>
      <source>There is no structure '{text}'.</source>
      <translation>Es gibt keine Struktur '{text}'.</translation>
    </message>
  </context>
  <context>
    <name>panel.closing</name>
    <message>
      <source>Close Slicer all the same?</source>
      <translation>Slicer trotzdem schließen?</translation>
    </message>
    <message>
      <source>Close Slicer</source>
      <translation>Slicer schließen</translation>
    </message>
    <message>
      <source>The latest corrections of {names} could not be kept.</source>
      <translation>Die letzten Korrekturen von {names} konnten nicht gesichert werden.</translation>
    </message>
    <message>
      <source>The segmentation is not finished and will be lost.</source>
      <translation>Die Segmentierung ist nicht fertig und geht verloren.</translation>
    </message>
    <message>
      <source>The training will stop; it can be resumed later.</source>
      <translation>Das Training hält an; es kann später fortgesetzt werden.</translation>
    </message>
    <message>
      <source>{what} That will be cancelled.</source>
      <translation>{what} Das wird abgebrochen.</translation>
    </message>
  </context>
  <context>
    <name>panel.current_case</name>
    <message>
      <source>{name} is ready.</source>
      <translation>{name} ist fertig.</translation>
    </message>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
    <message>
      <source>This is a quick preview by a coarser model. The result will take its place when it is ready.</source>
      <translation>Das ist eine schnelle Vorschau eines gröberen Modells. Das Ergebnis ersetzt sie, sobald es fertig ist.</translation>
    </message>
    <message>
      <source>'{ct}' shows another image than the one that was segmented, such as another frame of a sequence. {name} does not belong to it.</source>
      <translation>'{ct}' zeigt ein anderes Bild als das segmentierte, etwa ein anderes Einzelbild einer Sequenz. {name} gehört nicht dazu.</translation>
    </message>
    <message>
      <source>{name} is open.</source>
      <translation>{name} ist geöffnet.</translation>
    </message>
    <message>
      <source>{ct} is the CT of {name}: both belong together again.</source>
      <translation>{ct} ist das CT von {name}: Beide gehören wieder zusammen.</translation>
    </message>
    <message>
      <source>Segmented: no region to review was found.</source>
      <translation>Segmentiert: kein zu prüfender Bereich gefunden.</translation>
    </message>
    <message>
      <source>Segmented: 1 region to review.</source>
      <translation>Segmentiert: 1 zu prüfender Bereich.</translation>
    </message>
    <message>
      <source>Segmented: {count} regions to review.</source>
      <translation>Segmentiert: {count} zu prüfende Bereiche.</translation>
    </message>
  </context>
  <context>
    <name>panel.dataset_cases</name>
    <message>
      <source>{count} cases in {dataset}:</source>
      <translation>Fälle in {dataset} ({count}):</translation>
    </message>
    <message>
      <source>No case is stored in {dataset} yet.</source>
      <translation>In {dataset} ist noch kein Fall abgelegt.</translation>
    </message>
    <message>
      <source>1 case in {dataset}:</source>
      <translation>Fälle in {dataset} (1):</translation>
    </message>
    <message>
      <source>Cases ({count})...</source>
      <translation>Fälle ({count})...</translation>
    </message>
    <message>
      <source>Remove {case} with its image, its label map and their history from {dataset}? They are lost for good.</source>
      <translation>{case} mit Bild, Labelkarte und Verlauf aus {dataset} entfernen? Alles geht endgültig verloren.</translation>
    </message>
    <message>
      <source>Remove</source>
      <translation>Entfernen</translation>
    </message>
  </context>
  <context>
    <name>panel.decision</name>
    <message>
      <source>replayed images</source>
      <translation>wiederholte Bilder</translation>
    </message>
    <message>
      <source>Fell by more than allowed</source>
      <translation>Stärker gefallen als erlaubt</translation>
    </message>
    <message>
      <source>The reason is in its log.</source>
      <translation>Der Grund steht im Protokoll.</translation>
    </message>
    <message>
      <source>&lt;b&gt;The training failed.&lt;/b&gt;&lt;br&gt;{reason}</source>
      <translation>&lt;b&gt;Das Training ist fehlgeschlagen.&lt;/b&gt;&lt;br&gt;{reason}</translation>
    </message>
    <message>
      <source>&lt;b&gt;{version} is better and is the current version.&lt;/b&gt;&lt;br&gt;{reason}</source>
      <translation>&lt;b&gt;{version} ist besser und ist die aktuelle Version.&lt;/b&gt;&lt;br&gt;{reason}</translation>
    </message>
    <message>
      <source>&lt;b&gt;{version} was better; {current} is the current version now.&lt;/b&gt;&lt;br&gt;{reason}</source>
      <translation>&lt;b&gt;{version} war besser; jetzt ist {current} die aktuelle Version.&lt;/b&gt;&lt;br&gt;{reason}</translation>
    </message>
    <message>
      <source>&lt;b&gt;{version} is kept, and not used.&lt;/b&gt;&lt;br&gt;{reason}</source>
      <translation>&lt;b&gt;{version} bleibt erhalten, wird aber nicht verwendet.&lt;/b&gt;&lt;br&gt;{reason}</translation>
    </message>
  </context>
  <context>
    <name>panel.drafts</name>
    <message>
      <source>Not kept: {reason}</source>
      <translation>Nicht gesichert: {reason}</translation>
    </message>
    <message>
      <source>Keeping...</source>
      <translation>Wird gesichert...</translation>
    </message>
    <message>
      <source>Kept {time}</source>
      <translation>Gesichert {time}</translation>
    </message>
    <message>
      <source>Unsaved corrections of {ct}, from {time}: {done} of {total} regions reviewed. Restore them?</source>
      <translation>Nicht gespeicherte Korrekturen von {ct}, vom {time}: {done} von {total} Bereichen geprüft. Wiederherstellen?</translation>
    </message>
    <message>
      <source>Unsaved corrections of {ct}, from {time}. Restore them?</source>
      <translation>Nicht gespeicherte Korrekturen von {ct}, vom {time}. Wiederherstellen?</translation>
    </message>
    <message>
      <source>Delete the unsaved corrections of {name} for good?</source>
      <translation>Die nicht gespeicherten Korrekturen von {name} endgültig löschen?</translation>
    </message>
    <message>
      <source>Delete</source>
      <translation>Löschen</translation>
    </message>
  </context>
  <context>
    <name>panel.earlier</name>
    <message>
      <source>Details</source>
      <translation>Details</translation>
    </message>
  </context>
  <context>
    <name>panel.editing</name>
    <message>
      <source>The whole segmentation</source>
      <translation>Die ganze Segmentierung</translation>
    </message>
    <message>
      <source>No region is chosen</source>
      <translation>Kein Bereich gewählt</translation>
    </message>
    <message>
      <source>nothing here</source>
      <translation>hier nichts</translation>
    </message>
    <message>
      <source>{structures}, region {number} of {total}</source>
      <translation>{structures}, Bereich {number} von {total}</translation>
    </message>
  </context>
  <context>
    <name>panel.export_texts</name>
    <message>
      <source>Use where the model is confident</source>
      <translation>Verwenden, wo das Modell sicher ist</translation>
    </message>
    <message>
      <source>Use all: I reviewed the whole case</source>
      <translation>Alle verwenden: Ich habe den ganzen Fall geprüft</translation>
    </message>
    <message>
      <source>Ignore all outside of reviewed regions</source>
      <translation>Alles außerhalb geprüfter Bereiche ignorieren</translation>
    </message>
    <message>
      <source>Unreviewed voxels: {treatment}.</source>
      <translation>Ungeprüfte Voxel: {treatment}.</translation>
    </message>
    <message>
      <source>New dataset: {name}</source>
      <translation>Neuer Datensatz: {name}</translation>
    </message>
    <message>
      <source>Choose a folder, for example Dataset801_Liver.</source>
      <translation>Wählen Sie einen Ordner, z. B. Dataset801_Liver.</translation>
    </message>
    <message>
      <source>Give the whole path of the folder.</source>
      <translation>Geben Sie den vollständigen Pfad des Ordners an.</translation>
    </message>
    <message>
      <source>'{name}' is a file, not a folder.</source>
      <translation>'{name}' ist eine Datei, kein Ordner.</translation>
    </message>
    <message>
      <source>'{name}' holds other files and no dataset: choose another folder.</source>
      <translation>'{name}' enthält andere Dateien und keinen Datensatz: Wählen Sie einen anderen Ordner.</translation>
    </message>
    <message>
      <source>Nothing can be written into '{name}': choose another folder.</source>
      <translation>In '{name}' kann nicht geschrieben werden: Wählen Sie einen anderen Ordner.</translation>
    </message>
    <message>
      <source>The disk is nearly full: about {needed} MB are needed, {free} MB are free.</source>
      <translation>Die Festplatte ist fast voll: Etwa {needed} MB werden gebraucht, {free} MB sind frei.</translation>
    </message>
    <message>
      <source>Patient ID {patient}: kept private, outside of the dataset.</source>
      <translation>Patienten-ID {patient}: bleibt privat, außerhalb des Datensatzes.</translation>
    </message>
    <message>
      <source>No patient ID yet: the CT counts as a patient of its own.</source>
      <translation>Noch keine Patienten-ID: Das CT zählt als eigener Patient.</translation>
    </message>
    <message>
      <source>No annotator is named.</source>
      <translation>Es ist kein Bearbeiter angegeben.</translation>
    </message>
    <message>
      <source>The CT is not the one that was segmented: another frame of a sequence?</source>
      <translation>Das CT ist nicht das segmentierte: ein anderes Einzelbild einer Sequenz?</translation>
    </message>
    <message>
      <source>{done} of {total} regions reviewed.</source>
      <translation>{done} von {total} Bereichen geprüft.</translation>
    </message>
    <message>
      <source>{count} skipped: not used as ground truth.</source>
      <translation>{count} übersprungen: nicht als Referenz verwendet.</translation>
    </message>
    <message>
      <source>'{name}' was deleted and will be treated as absent.</source>
      <translation>'{name}' wurde gelöscht und gilt als nicht vorhanden.</translation>
    </message>
    <message>
      <source>'{name}' is no structure of the model: say below what it is.</source>
      <translation>'{name}' ist keine Struktur des Modells: Geben Sie unten an, was es ist.</translation>
    </message>
    <message>
      <source>Nothing was changed in the segmentation.</source>
      <translation>An der Segmentierung wurde nichts geändert.</translation>
    </message>
    <message>
      <source>{count} more</source>
      <translation>{count} weitere</translation>
    </message>
    <message>
      <source>Changed: {changes}.</source>
      <translation>Geändert: {changes}.</translation>
    </message>
    <message>
      <source>ground truth where the model is confident, else ignored</source>
      <translation>Referenz, wo das Modell sicher ist, sonst ignoriert</translation>
    </message>
    <message>
      <source>all are ground truth, because the whole case was reviewed</source>
      <translation>alle gelten als Referenz, denn der ganze Fall wurde geprüft</translation>
    </message>
    <message>
      <source>ignored outside of reviewed regions</source>
      <translation>außerhalb geprüfter Bereiche ignoriert</translation>
    </message>
  </context>
  <context>
    <name>panel.exporting</name>
    <message>
      <source>Segment a CT and review it, or open a case of a dataset.</source>
      <translation>Segmentieren und prüfen Sie ein CT oder öffnen Sie einen Fall eines Datensatzes.</translation>
    </message>
    <message>
      <source>A preview cannot be exported: wait for the final result.</source>
      <translation>Eine Vorschau kann nicht exportiert werden: Warten Sie auf das endgültige Ergebnis.</translation>
    </message>
    <message>
      <source>The CT is no longer in the scene: load it again.</source>
      <translation>Das CT ist nicht mehr in der Szene: Laden Sie es erneut.</translation>
    </message>
    <message>
      <source>Counting what was changed...</source>
      <translation>Änderungen werden gezählt...</translation>
    </message>
    <message>
      <source>There is nothing to export yet.</source>
      <translation>Es gibt noch nichts zu exportieren.</translation>
    </message>
    <message>
      <source>{case} of {dataset} would get a new revision</source>
      <translation>{case} in {dataset} bekäme eine neue Revision</translation>
    </message>
    <message>
      <source>A new case would be stored in {dataset}</source>
      <translation>Ein neuer Fall würde in {dataset} abgelegt</translation>
    </message>
    <message>
      <source>A new case would be stored</source>
      <translation>Ein neuer Fall würde abgelegt</translation>
    </message>
    <message>
      <source>Choose a segmentation.</source>
      <translation>Wählen Sie eine Segmentierung.</translation>
    </message>
    <message>
      <source>A preview cannot be exported.</source>
      <translation>Eine Vorschau kann nicht exportiert werden.</translation>
    </message>
    <message>
      <source>Store the case in the dataset</source>
      <translation>Den Fall im Datensatz ablegen</translation>
    </message>
    <message>
      <source>working</source>
      <translation>läuft</translation>
    </message>
    <message>
      <source>not stored</source>
      <translation>offen</translation>
    </message>
    <message>
      <source>changed</source>
      <translation>geändert</translation>
    </message>
    <message>
      <source>stored</source>
      <translation>abgelegt</translation>
    </message>
    <message>
      <source>nnU-Net cannot have a dataset with the name '{typed}'. Shall it be called '{name}'?</source>
      <translation>nnU-Net erlaubt keinen Datensatz mit dem Namen '{typed}'. Soll er '{name}' heißen?</translation>
    </message>
    <message>
      <source>Use this name</source>
      <translation>Diesen Namen verwenden</translation>
    </message>
    <message>
      <source>Keeping a copy of the case</source>
      <translation>Kopie des Falls wird gesichert</translation>
    </message>
    <message>
      <source>Handing the case over</source>
      <translation>Fall wird übergeben</translation>
    </message>
    <message>
      <source>Waiting for another job</source>
      <translation>Wartet auf einen anderen Auftrag</translation>
    </message>
    <message>
      <source>Reading the segmentation</source>
      <translation>Segmentierung wird gelesen</translation>
    </message>
    <message>
      <source>Reading the case</source>
      <translation>Fall wird gelesen</translation>
    </message>
    <message>
      <source>Comparing it with the prediction</source>
      <translation>Vergleich mit der Vorhersage</translation>
    </message>
    <message>
      <source>Storing it in the dataset</source>
      <translation>Wird im Datensatz abgelegt</translation>
    </message>
    <message>
      <source>Working on the case</source>
      <translation>Fall wird bearbeitet</translation>
    </message>
    <message>
      <source>Next case</source>
      <translation>Nächster Fall</translation>
    </message>
    <message>
      <source>Learn</source>
      <translation>Lernen</translation>
    </message>
    <message>
      <source>The dataset's folder</source>
      <translation>Der Ordner des Datensatzes</translation>
    </message>
    <message>
      <source>Stored as {case} in {dataset}</source>
      <translation>Abgelegt als {case} in {dataset}</translation>
    </message>
    <message>
      <source>This would be written to {dataset}</source>
      <translation>Dies würde in {dataset} geschrieben</translation>
    </message>
  </context>
  <context>
    <name>panel.focus</name>
    <message>
      <source>{count} regions were reviewed. Replace the list? Your edits stay.</source>
      <translation>Geprüfte Bereiche: {count}. Die Liste ersetzen? Ihre Bearbeitungen bleiben.</translation>
    </message>
    <message>
      <source>Replace</source>
      <translation>Ersetzen</translation>
    </message>
    <message>
      <source>{count} regions to review in {where}.</source>
      <translation>Zu prüfende Bereiche in {where}: {count}.</translation>
    </message>
    <message>
      <source>No region to review was found in {where}: the model is confident there.</source>
      <translation>In {where} wurde kein zu prüfender Bereich gefunden: Dort ist das Modell sicher.</translation>
    </message>
    <message>
      <source>Finding regions...</source>
      <translation>Bereiche werden gesucht...</translation>
    </message>
    <message>
      <source>No structure of this segmentation is called '{text}'.</source>
      <translation>Keine Struktur dieser Segmentierung heißt '{text}'.</translation>
    </message>
    <message>
      <source>{count} ticked</source>
      <translation>{count} angekreuzt</translation>
    </message>
    <message>
      <source>none ticked: all structures</source>
      <translation>nichts angekreuzt: alle Strukturen</translation>
    </message>
    <message>
      <source>all structures</source>
      <translation>allen Strukturen</translation>
    </message>
    <message>
      <source>{count} structures</source>
      <translation>{count} Strukturen</translation>
    </message>
  </context>
  <context>
    <name>panel.heat_map</name>
    <message>
      <source>Legend</source>
      <translation>Legende</translation>
    </message>
    <message>
      <source>variance</source>
      <translation>Varianz</translation>
    </message>
    <message>
      <source>entropy</source>
      <translation>Entropie</translation>
    </message>
    <message>
      <source>mutual information</source>
      <translation>Transinformation</translation>
    </message>
  </context>
  <context>
    <name>panel.installation</name>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
    <message>
      <source>Repair...</source>
      <translation>Reparieren...</translation>
    </message>
    <message>
      <source>Use my own Python...</source>
      <translation>Eigenes Python verwenden...</translation>
    </message>
    <message>
      <source>Install...</source>
      <translation>Installieren...</translation>
    </message>
    <message>
      <source>Resume...</source>
      <translation>Fortsetzen...</translation>
    </message>
    <message>
      <source>Ignore the variable</source>
      <translation>Variable ignorieren</translation>
    </message>
    <message>
      <source>Look again</source>
      <translation>Erneut suchen</translation>
    </message>
    <message>
      <source>Update...</source>
      <translation>Aktualisieren...</translation>
    </message>
    <message>
      <source>The engine is installed again, with the same settings; until that is done the old one stays.</source>
      <translation>Die Engine wird mit denselben Einstellungen neu installiert; bis dahin bleibt die alte.</translation>
    </message>
    <message>
      <source>Repair</source>
      <translation>Reparieren</translation>
    </message>
    <message>
      <source>The engine is up to date.</source>
      <translation>Die Engine ist aktuell.</translation>
    </message>
    <message>
      <source>Update</source>
      <translation>Aktualisieren</translation>
    </message>
    <message>
      <source>Remove what was downloaded for the engine from {folder} ({size})?</source>
      <translation>Was für die Engine heruntergeladen wurde, aus {folder} entfernen ({size})?</translation>
    </message>
    <message>
      <source>Remove the engine from {folder}? It must be downloaded again to segment. Your datasets, models and projects stay.</source>
      <translation>Die Engine aus {folder} entfernen? Zum Segmentieren muss sie wieder heruntergeladen werden. Ihre Datensätze, Modelle und Projekte bleiben.</translation>
    </message>
    <message>
      <source>Remove</source>
      <translation>Entfernen</translation>
    </message>
    <message>
      <source>A Python with torch, nnunetv2 and TotalSegmentator</source>
      <translation>Ein Python mit torch, nnunetv2 und TotalSegmentator</translation>
    </message>
    <message>
      <source>The engine is damaged. {what}</source>
      <translation>Die Engine ist beschädigt. {what}</translation>
    </message>
    <message>
      <source>Installed by ActiveSeg in {folder}</source>
      <translation>Von ActiveSeg installiert in {folder}</translation>
    </message>
    <message>
      <source>Your own Python: {python}</source>
      <translation>Ihr eigenes Python: {python}</translation>
    </message>
    <message>
      <source>Set by ACTIVESEG_ENGINE_PYTHON: {python}</source>
      <translation>Gesetzt durch ACTIVESEG_ENGINE_PYTHON: {python}</translation>
    </message>
    <message>
      <source>{size} on disk</source>
      <translation>{size} auf der Festplatte</translation>
    </message>
    <message>
      <source>All files of the engine are as they were installed.</source>
      <translation>Alle Dateien der Engine sind so, wie sie installiert wurden.</translation>
    </message>
    <message>
      <source>The engine was removed.</source>
      <translation>Die Engine wurde entfernt.</translation>
    </message>
    <message>
      <source>These files in its folder are not ActiveSeg's and stay: {names}.</source>
      <translation>Diese Dateien in ihrem Ordner gehören nicht zu ActiveSeg und bleiben: {names}.</translation>
    </message>
    <message>
      <source>Cancelled. The engine is as it was before.</source>
      <translation>Abgebrochen. Die Engine ist wie zuvor.</translation>
    </message>
    <message>
      <source>The log is in {folder}</source>
      <translation>Das Protokoll liegt in {folder}</translation>
    </message>
    <message>
      <source>no folder yet</source>
      <translation>noch kein Ordner</translation>
    </message>
  </context>
  <context>
    <name>panel.installation_texts</name>
    <message>
      <source>{size:.0f} MB</source>
      <translation>{size:.0f} MB</translation>
    </message>
    <message>
      <source>{size:.1f} GB</source>
      <translation>{size:.1f} GB</translation>
    </message>
    <message>
      <source>{done:.0f} of {total:.0f} MB</source>
      <translation>{done:.0f} von {total:.0f} MB</translation>
    </message>
    <message>
      <source>{disk} on disk; nothing is downloaded</source>
      <translation>belegt {disk}; nichts wird heruntergeladen</translation>
    </message>
    <message>
      <source>about {download} to download, {disk} on disk</source>
      <translation>Download etwa {download}, belegt {disk}</translation>
    </message>
    <message>
      <source>({free} free)</source>
      <translation>({free} frei)</translation>
    </message>
    <message>
      <source>{size} are there already</source>
      <translation>{size} sind schon da</translation>
    </message>
    <message>
      <source>about {minutes} min</source>
      <translation>etwa {minutes} min</translation>
    </message>
    <message>
      <source>about {minutes} min at {rate} Mbit/s</source>
      <translation>etwa {minutes} min bei {rate} Mbit/s</translation>
    </message>
    <message>
      <source>weights of models, {least} to {most}, at their first use</source>
      <translation>Gewichte je Modell, {least} bis {most}, bei Erstnutzung</translation>
    </message>
    <message>
      <source>PyTorch for NVIDIA graphics cards, nnU-Net, TotalSegmentator</source>
      <translation>PyTorch (NVIDIA), nnU-Net, TotalSegmentator</translation>
    </message>
    <message>
      <source>PyTorch for the CPU, nnU-Net, TotalSegmentator</source>
      <translation>PyTorch (CPU), nnU-Net, TotalSegmentator</translation>
    </message>
    <message>
      <source>Folder: {folder}</source>
      <translation>Ordner: {folder}</translation>
    </message>
    <message>
      <source>Size: {size}</source>
      <translation>Größe: {size}</translation>
    </message>
    <message>
      <source>Time: {time}</source>
      <translation>Dauer: {time}</translation>
    </message>
    <message>
      <source>Packages: {count}, with {build}</source>
      <translation>Pakete: {count}, mit {build}</translation>
    </message>
    <message>
      <source>Nothing outside of the folder is changed, and nothing in Slicer's own Python.</source>
      <translation>Außerhalb des Ordners und in Slicers eigenem Python wird nichts verändert.</translation>
    </message>
    <message>
      <source>getting the installer</source>
      <translation>Installationsprogramm wird geladen</translation>
    </message>
    <message>
      <source>looking for a Python</source>
      <translation>Python wird gesucht</translation>
    </message>
    <message>
      <source>getting the packages</source>
      <translation>Pakete werden geladen</translation>
    </message>
    <message>
      <source>trying the packages</source>
      <translation>Pakete werden getestet</translation>
    </message>
    <message>
      <source>Looking at what an installation needs</source>
      <translation>Bedarf der Installation wird ermittelt</translation>
    </message>
    <message>
      <source>Looking at what this needs</source>
      <translation>Bedarf wird ermittelt</translation>
    </message>
    <message>
      <source>Checking the engine's files</source>
      <translation>Dateien der Engine werden geprüft</translation>
    </message>
    <message>
      <source>Removing the engine</source>
      <translation>Engine wird entfernt</translation>
    </message>
    <message>
      <source>Trying your Python</source>
      <translation>Ihr Python wird getestet</translation>
    </message>
    <message>
      <source>Step {step} of {steps}: {stage}</source>
      <translation>Schritt {step} von {steps}: {stage}</translation>
    </message>
    <message>
      <source>Starting</source>
      <translation>Startet</translation>
    </message>
    <message>
      <source>{percent:.0f} %</source>
      <translation>{percent:.0f} %</translation>
    </message>
    <message>
      <source>The installation was not completed</source>
      <translation>Die Installation ist unvollständig</translation>
    </message>
    <message>
      <source>The engine is not there any more</source>
      <translation>Die Engine ist nicht mehr da</translation>
    </message>
    <message>
      <source>The engine cannot be found</source>
      <translation>Die Engine ist nicht zu finden</translation>
    </message>
    <message>
      <source>The engine is in use by another Slicer</source>
      <translation>Ein anderes Slicer verwendet die Engine</translation>
    </message>
    <message>
      <source>Installing the engine</source>
      <translation>Engine wird installiert</translation>
    </message>
    <message>
      <source>Updating the engine</source>
      <translation>Engine wird aktualisiert</translation>
    </message>
    <message>
      <source>Repairing the engine</source>
      <translation>Engine wird repariert</translation>
    </message>
    <message>
      <source>Setting up your Python</source>
      <translation>Ihr Python wird eingerichtet</translation>
    </message>
    <message>
      <source>Install the engine</source>
      <translation>Engine installieren</translation>
    </message>
    <message>
      <source>The engine is not installed. It is a Python environment, apart from Slicer's own.</source>
      <translation>Die Engine ist nicht installiert. Sie ist eine Python-Umgebung, getrennt von der in Slicer.</translation>
    </message>
    <message>
      <source>The installation of the engine was not completed. What was downloaded is kept.</source>
      <translation>Die Installation der Engine ist unvollständig. Was heruntergeladen wurde, bleibt erhalten.</translation>
    </message>
    <message>
      <source>The engine is being installed.</source>
      <translation>Die Engine wird installiert.</translation>
    </message>
    <message>
      <source>The engine is being updated.</source>
      <translation>Die Engine wird aktualisiert.</translation>
    </message>
    <message>
      <source>The engine is being repaired.</source>
      <translation>Die Engine wird repariert.</translation>
    </message>
    <message>
      <source>The engine is being removed.</source>
      <translation>Die Engine wird entfernt.</translation>
    </message>
    <message>
      <source>Your Python is being tried.</source>
      <translation>Ihr Python wird getestet.</translation>
    </message>
    <message>
      <source>Another Slicer is changing the engine. Wait until it is done there.</source>
      <translation>Ein anderes Slicer verändert die Engine gerade. Warten Sie, bis es dort fertig ist.</translation>
    </message>
    <message>
      <source>The engine is damaged. {what} {way_out}</source>
      <translation>Die Engine ist beschädigt. {what} {way_out}</translation>
    </message>
    <message>
      <source>The engine is starting for the first time. This can take a minute.</source>
      <translation>Die Engine startet zum ersten Mal. Das kann eine Minute dauern.</translation>
    </message>
    <message>
      <source>The engine is starting.</source>
      <translation>Die Engine startet.</translation>
    </message>
    <message>
      <source>ActiveSeg was updated, its engine was not. It works until you update it.</source>
      <translation>ActiveSeg wurde aktualisiert, die Engine nicht. Sie lässt sich weiter verwenden, bis Sie sie aktualisieren.</translation>
    </message>
    <message>
      <source>The engine is running.</source>
      <translation>Die Engine läuft.</translation>
    </message>
    <message>
      <source>The engine is ready; it starts when it is needed.</source>
      <translation>Die Engine ist bereit; sie startet, wenn sie gebraucht wird.</translation>
    </message>
    <message>
      <source>Press Repair.</source>
      <translation>Drücken Sie Reparieren.</translation>
    </message>
    <message>
      <source>Install what is missing into that Python, or let ActiveSeg install an environment of its own.</source>
      <translation>Installieren Sie das Fehlende in dieses Python oder lassen Sie ActiveSeg eine eigene Umgebung installieren.</translation>
    </message>
  </context>
  <context>
    <name>panel.keys_card</name>
    <message>
      <source>next region</source>
      <translation>nächster Bereich</translation>
    </message>
    <message>
      <source>region before</source>
      <translation>vorheriger Bereich</translation>
    </message>
    <message>
      <source>accept: the region is correct as it is now</source>
      <translation>annehmen: Der Bereich ist richtig, wie er ist</translation>
    </message>
    <message>
      <source>skip: the region is not used as ground truth</source>
      <translation>überspringen: Der Bereich gilt nicht als Referenz</translation>
    </message>
    <message>
      <source>reopen: take the decision back</source>
      <translation>wieder öffnen: die Entscheidung zurücknehmen</translation>
    </message>
    <message>
      <source>click: this belongs to the structure; the answer is the first alternative</source>
      <translation>Klick: das gehört zur Struktur; die Antwort ist die erste Alternative</translation>
    </message>
    <message>
      <source>click: this does not belong to it</source>
      <translation>Klick: das gehört nicht dazu</translation>
    </message>
    <message>
      <source>end the click, or what is being computed for it</source>
      <translation>den Klick beenden, oder was für ihn berechnet wird</translation>
    </message>
    <message>
      <source>edit with the Segment Editor, and back to the list</source>
      <translation>mit dem Segment Editor bearbeiten, und zurück zur Liste</translation>
    </message>
    <message>
      <source>show the next alternative</source>
      <translation>die nächste Alternative zeigen</translation>
    </message>
    <message>
      <source>take the alternative that is shown</source>
      <translation>die gezeigte Alternative übernehmen</translation>
    </message>
    <message>
      <source>undo the last decision or edit</source>
      <translation>die letzte Entscheidung oder Bearbeitung zurücknehmen</translation>
    </message>
    <message>
      <source>redo it</source>
      <translation>Zurückgenommenes wiederholen</translation>
    </message>
    <message>
      <source>heat map on or off</source>
      <translation>Heatmap ein oder aus</translation>
    </message>
    <message>
      <source>structures in 3D on or off</source>
      <translation>Strukturen in 3D ein oder aus</translation>
    </message>
    <message>
      <source>this card</source>
      <translation>diese Karte</translation>
    </message>
    <message>
      <source>Up, Down</source>
      <translation>Auf, Ab</translation>
    </message>
    <message>
      <source>in the list: the region above or below; in the alternatives: preview</source>
      <translation>in der Liste: der Bereich darüber oder darunter; in den Alternativen: Vorschau</translation>
    </message>
    <message>
      <source>Return</source>
      <translation>Eingabe</translation>
    </message>
    <message>
      <source>in the list: show the region again; in the alternatives: take it</source>
      <translation>in der Liste: den Bereich wieder zeigen; in den Alternativen: übernehmen</translation>
    </message>
    <message>
      <source>Esc</source>
      <translation>Esc</translation>
    </message>
    <message>
      <source>in the alternatives: end the preview; in the editor: no effect</source>
      <translation>in den Alternativen: Vorschau beenden; im Editor: kein Werkzeug</translation>
    </message>
    <message>
      <source>in the editor: choose an effect</source>
      <translation>im Editor: ein Werkzeug wählen</translation>
    </message>
    <message>
      <source>in the editor: undo and redo edits</source>
      <translation>im Editor: Bearbeitungen zurücknehmen und wiederholen</translation>
    </message>
    <message>
      <source>They work in the views and in the panel, not while you type.</source>
      <translation>Sie wirken in den Ansichten und im Panel, nicht beim Tippen.</translation>
    </message>
    <message>
      <source>J, O, H and D work while the list is shown, not the editor.</source>
      <translation>J, O, H und D wirken, solange die Liste zu sehen ist, nicht im Editor.</translation>
    </message>
    <message>
      <source>Keys of the review</source>
      <translation>Tasten beim Prüfen</translation>
    </message>
  </context>
  <context>
    <name>panel.learning</name>
    <message>
      <source>The training of {name} has ended or stopped meanwhile.</source>
      <translation>Das Training von {name} ist inzwischen beendet oder angehalten.</translation>
    </message>
    <message>
      <source>A training of {name} is running; it was started before Slicer.</source>
      <translation>Ein Training von {name} läuft; es wurde schon vor Slicer gestartet.</translation>
    </message>
    <message>
      <source>Open</source>
      <translation>Öffnen</translation>
    </message>
    <message>
      <source>Cases ({count})</source>
      <translation>Fälle ({count})</translation>
    </message>
    <message>
      <source>Versions ({count})</source>
      <translation>Versionen ({count})</translation>
    </message>
    <message>
      <source>stopped</source>
      <translation>gestoppt</translation>
    </message>
    <message>
      <source>paused {percent} %</source>
      <translation>Pause {percent} %</translation>
    </message>
    <message>
      <source>running {percent} %</source>
      <translation>läuft {percent} %</translation>
    </message>
    <message>
      <source>failed</source>
      <translation>Fehler</translation>
    </message>
    <message>
      <source>{count} waiting</source>
      <translation>{count} wartend</translation>
    </message>
  </context>
  <context>
    <name>panel.message</name>
    <message>
      <source>Details</source>
      <translation>Details</translation>
    </message>
  </context>
  <context>
    <name>panel.model_tree</name>
    <message>
      <source>No model is called '{text}' or segments it.</source>
      <translation>Kein Modell heißt '{text}' oder segmentiert es.</translation>
    </message>
    <message>
      <source>Whole body</source>
      <translation>Ganzkörper</translation>
    </message>
    <message>
      <source>Organs</source>
      <translation>Organe</translation>
    </message>
    <message>
      <source>Your models</source>
      <translation>Ihre Modelle</translation>
    </message>
    <message>
      <source>Your projects</source>
      <translation>Ihre Projekte</translation>
    </message>
    <message>
      <source>Demonstration</source>
      <translation>Demonstration</translation>
    </message>
    <message>
      <source>{size} MB to download</source>
      <translation>{size} MB zu laden</translation>
    </message>
    <message>
      <source>built in</source>
      <translation>eingebaut</translation>
    </message>
    <message>
      <source>present</source>
      <translation>vorhanden</translation>
    </message>
    <message>
      <source>to download</source>
      <translation>zu laden</translation>
    </message>
    <message>
      <source>download again</source>
      <translation>neu zu laden</translation>
    </message>
    <message>
      <source>licence needed</source>
      <translation>Lizenz nötig</translation>
    </message>
    <message>
      <source>Nothing has to be downloaded.</source>
      <translation>Es muss nichts heruntergeladen werden.</translation>
    </message>
    <message>
      <source>Its weights are on this computer.</source>
      <translation>Seine Gewichte liegen auf diesem Computer.</translation>
    </message>
    <message>
      <source>Its weights are downloaded at the first use, or added from a file.</source>
      <translation>Seine Gewichte werden bei der ersten Verwendung heruntergeladen oder aus einer Datei hinzugefügt.</translation>
    </message>
    <message>
      <source>Its weights are damaged or of another version and are downloaded again.</source>
      <translation>Seine Gewichte sind beschädigt oder von einer anderen Version und werden neu heruntergeladen.</translation>
    </message>
    <message>
      <source>It needs a licence number of TotalSegmentator.</source>
      <translation>Es braucht eine Lizenznummer von TotalSegmentator.</translation>
    </message>
  </context>
  <context>
    <name>panel.models</name>
    <message>
      <source>The models could not be listed.</source>
      <translation>Die Modelle konnten nicht aufgelistet werden.</translation>
    </message>
    <message>
      <source>{engine} Its models are listed here in a moment.</source>
      <translation>{engine} Ihre Modelle werden gleich hier aufgelistet.</translation>
    </message>
    <message>
      <source>1 structure</source>
      <translation>1 Struktur</translation>
    </message>
    <message>
      <source>{count} structures</source>
      <translation>{count} Strukturen</translation>
    </message>
    <message>
      <source>Chosen: {model}</source>
      <translation>Gewählt: {model}</translation>
    </message>
    <message>
      <source>Enter licence...</source>
      <translation>Lizenz eingeben...</translation>
    </message>
    <message>
      <source>Add weights...</source>
      <translation>Gewichte hinzufügen...</translation>
    </message>
    <message>
      <source>Enter the licence number of TotalSegmentator</source>
      <translation>Die Lizenznummer von TotalSegmentator eingeben</translation>
    </message>
    <message>
      <source>Install the weights from a file that you have</source>
      <translation>Die Gewichte aus einer vorhandenen Datei installieren</translation>
    </message>
    <message>
      <source>Version {version} of the project is used for segmentation from now on.</source>
      <translation>Von jetzt an wird mit Version {version} des Projekts segmentiert.</translation>
    </message>
    <message>
      <source>Automatic</source>
      <translation>Automatisch</translation>
    </message>
    <message>
      <source>{free:.1f} GB free</source>
      <translation>{free:.1f} GB frei</translation>
    </message>
    <message>
      <source>CPU</source>
      <translation>CPU</translation>
    </message>
    <message>
      <source>Folder of an nnU-Net model (with plans.json, dataset.json and fold_...)</source>
      <translation>Ordner eines nnU-Net-Modells (mit plans.json, dataset.json und fold_...)</translation>
    </message>
  </context>
  <context>
    <name>panel.panel</name>
    <message>
      <source>Repair...</source>
      <translation>Reparieren...</translation>
    </message>
    <message>
      <source>Set up the engine</source>
      <translation>Engine einrichten</translation>
    </message>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
  </context>
  <context>
    <name>panel.project</name>
    <message>
      <source>&lt;b&gt;Let the model learn from your corrections&lt;/b&gt;&lt;br&gt;A project trains new versions of a model on the cases that you export. Each version is measured on cases that it has never seen, and is used only if it is better. The model itself is never changed.</source>
      <translation>&lt;b&gt;Lassen Sie das Modell aus Ihren Korrekturen lernen&lt;/b&gt;&lt;br&gt;Ein Projekt trainiert neue Versionen eines Modells mit den Fällen, die Sie exportieren. Jede Version wird an Fällen gemessen, die sie nie gesehen hat, und nur verwendet, wenn sie besser ist. Das Modell selbst wird nie verändert.</translation>
    </message>
    <message>
      <source>made inside the project</source>
      <translation>wird im Projekt angelegt</translation>
    </message>
    <message>
      <source>The engine is needed to open or begin a project: set it up in the step Segment.</source>
      <translation>Für ein Projekt wird die Engine gebraucht: Richten Sie sie im Schritt Segmentieren ein.</translation>
    </message>
    <message>
      <source>Choose a folder above: an empty one for a new project, or that of a project to go on with.</source>
      <translation>Wählen Sie oben einen Ordner: einen leeren für ein neues Projekt oder den eines bestehenden Projekts.</translation>
    </message>
    <message>
      <source>Opening {name}...</source>
      <translation>{name} wird geöffnet...</translation>
    </message>
    <message>
      <source>It cannot be opened.</source>
      <translation>Es kann nicht geöffnet werden.</translation>
    </message>
    <message>
      <source>Afterwards export corrected cases of at least two patients into its dataset: some train the model, the others measure whether it got better.</source>
      <translation>Exportieren Sie danach korrigierte Fälle von mindestens zwei Patienten in seinen Datensatz: Die einen trainieren das Modell, die anderen messen, ob es besser wurde.</translation>
    </message>
    <message>
      <source>Folder of the project</source>
      <translation>Ordner des Projekts</translation>
    </message>
    <message>
      <source>The project {name} is ready. What you export from now on goes into its dataset.</source>
      <translation>Das Projekt {name} ist bereit. Was Sie von jetzt an exportieren, kommt in seinen Datensatz.</translation>
    </message>
  </context>
  <context>
    <name>panel.project_cases</name>
    <message>
      <source>not learned yet</source>
      <translation>noch nicht gelernt</translation>
    </message>
    <message>
      <source>reviewed in part</source>
      <translation>teilweise geprüft</translation>
    </message>
    <message>
      <source>new</source>
      <translation>neu</translation>
    </message>
    <message>
      <source>{case}: {side}</source>
      <translation>{case}: {side}</translation>
    </message>
    <message>
      <source>Was all of {case} reviewed? Every voxel of it measures versions from now on.</source>
      <translation>Wurde {case} ganz geprüft? Von jetzt an werden die Versionen an jedem seiner Voxel gemessen.</translation>
    </message>
    <message>
      <source>Mark as reviewed</source>
      <translation>Als geprüft markieren</translation>
    </message>
    <message>
      <source>training</source>
      <translation>Training</translation>
    </message>
    <message>
      <source>held out, measures</source>
      <translation>zurückgehalten, zum Messen</translation>
    </message>
    <message>
      <source>no patient ID</source>
      <translation>keine Patienten-ID</translation>
    </message>
    <message>
      <source>Based on {model}. Training cases: {train}, held out: {held_out}, replayed images: {replay}.</source>
      <translation>Beruht auf {model}. Trainingsfälle: {train}, zurückgehalten: {held_out}, wiederholte Bilder: {replay}.</translation>
    </message>
    <message>
      <source>Left out for want of a patient ID: {count}.</source>
      <translation>Ohne Patienten-ID ausgelassen: {count}.</translation>
    </message>
  </context>
  <context>
    <name>panel.prompt_structure</name>
    <message>
      <source>automatic: {structure}</source>
      <translation>automatisch: {structure}</translation>
    </message>
    <message>
      <source>automatic: where you click</source>
      <translation>automatisch: wo Sie klicken</translation>
    </message>
  </context>
  <context>
    <name>panel.question</name>
    <message>
      <source>ActiveSeg</source>
      <translation>ActiveSeg</translation>
    </message>
    <message>
      <source>Yes</source>
      <translation>Ja</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
  </context>
  <context>
    <name>panel.refiner_weights</name>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
    <message>
      <source>The folder of nnInteractive's weights</source>
      <translation>Der Ordner der Gewichte von nnInteractive</translation>
    </message>
    <message>
      <source>Start the engine to see whether nnInteractive can be used.</source>
      <translation>Starten Sie die Engine, um zu sehen, ob nnInteractive verwendet werden kann.</translation>
    </message>
    <message>
      <source>Ready, with the weights in {folder} ({licence}).</source>
      <translation>Bereit, mit den Gewichten in {folder} ({licence}).</translation>
    </message>
  </context>
  <context>
    <name>panel.refining</name>
    <message>
      <source>The next click in a view says: this belongs to the structure (M)</source>
      <translation>Der nächste Klick in einer Ansicht sagt: Das gehört zur Struktur (M)</translation>
    </message>
    <message>
      <source>The next click in a view says: this does not belong to it (Shift+M)</source>
      <translation>Der nächste Klick in einer Ansicht sagt: Das gehört nicht dazu (Shift+M)</translation>
    </message>
    <message>
      <source>That lies outside of the region's frame, and of all other regions.</source>
      <translation>Das liegt außerhalb vom Rahmen des Bereichs und von allen anderen Bereichen.</translation>
    </message>
    <message>
      <source>Answer there</source>
      <translation>Dort antworten</translation>
    </message>
    <message>
      <source>Computing...</source>
      <translation>Wird berechnet...</translation>
    </message>
  </context>
  <context>
    <name>panel.refining_texts</name>
    <message>
      <source>Click</source>
      <translation>Klick</translation>
    </message>
    <message>
      <source>Scribble</source>
      <translation>Strich</translation>
    </message>
    <message>
      <source>Lasso</source>
      <translation>Lasso</translation>
    </message>
    <message>
      <source>Box</source>
      <translation>Kasten</translation>
    </message>
    <message>
      <source>Click in a view</source>
      <translation>In Ansicht klicken</translation>
    </message>
    <message>
      <source>Draw in a view</source>
      <translation>In Ansicht zeichnen</translation>
    </message>
    <message>
      <source>Draw around it</source>
      <translation>Umfahren</translation>
    </message>
    <message>
      <source>Drag over it</source>
      <translation>Darüberziehen</translation>
    </message>
    <message>
      <source>1 click: {structure}</source>
      <translation>1 Klick: {structure}</translation>
    </message>
    <message>
      <source>{count} clicks: {structure}</source>
      <translation>{count} Klicks: {structure}</translation>
    </message>
    <message>
      <source>Best answer for this model</source>
      <translation>Beste Antwort für dieses Modell</translation>
    </message>
    <message>
      <source>By the network's features</source>
      <translation>Nach Merkmalen des Netzes</translation>
    </message>
    <message>
      <source>By edges in the image</source>
      <translation>Nach Kanten im Bild</translation>
    </message>
    <message>
      <source>By nnInteractive</source>
      <translation>Mit nnInteractive</translation>
    </message>
    <message>
      <source>Not now: there is no segmentation that ActiveSeg made.</source>
      <translation>Jetzt nicht: Es gibt keine Segmentierung, die ActiveSeg gemacht hat.</translation>
    </message>
    <message>
      <source>Not now: its CT is no longer in the scene.</source>
      <translation>Jetzt nicht: Ihr CT ist nicht mehr in der Szene.</translation>
    </message>
    <message>
      <source>Not now: this is a quick preview.</source>
      <translation>Jetzt nicht: Das ist eine schnelle Vorschau.</translation>
    </message>
    <message>
      <source>Not here: it is not known which model has made it.</source>
      <translation>Hier nicht: Es ist nicht bekannt, welches Modell sie gemacht hat.</translation>
    </message>
  </context>
  <context>
    <name>panel.region_table</name>
    <message>
      <source>open</source>
      <translation>offen</translation>
    </message>
    <message>
      <source>accepted</source>
      <translation>angenommen</translation>
    </message>
    <message>
      <source>corrected</source>
      <translation>korrigiert</translation>
    </message>
    <message>
      <source>skipped</source>
      <translation>übersprungen</translation>
    </message>
    <message>
      <source>members disagree</source>
      <translation>Mitglieder uneins</translation>
    </message>
    <message>
      <source>low confidence</source>
      <translation>geringe Sicherheit</translation>
    </message>
    <message>
      <source>open edge</source>
      <translation>offener Rand</translation>
    </message>
    <message>
      <source>labels differ</source>
      <translation>Labels weichen ab</translation>
    </message>
    <message>
      <source>nothing here</source>
      <translation>hier nichts</translation>
    </message>
    <message>
      <source>State</source>
      <translation>Zustand</translation>
    </message>
    <message>
      <source>Structure</source>
      <translation>Struktur</translation>
    </message>
    <message>
      <source>mL</source>
      <translation>mL</translation>
    </message>
    <message>
      <source>Why</source>
      <translation>Grund</translation>
    </message>
    <message>
      <source>Doubt</source>
      <translation>Zweifel</translation>
    </message>
    <message>
      <source>Size of the uncertain part</source>
      <translation>Größe des unsicheren Teils</translation>
    </message>
    <message>
      <source>Why the region is listed</source>
      <translation>Warum der Bereich aufgelistet ist</translation>
    </message>
    <message>
      <source>Share of doubt: a full bar is a coin toss between two structures</source>
      <translation>Anteil des Zweifels: Ein voller Balken bedeutet unentschieden zwischen zwei Strukturen</translation>
    </message>
    <message>
      <source>All states</source>
      <translation>Alle Zustände</translation>
    </message>
    <message>
      <source>Worst first</source>
      <translation>Unsicherste zuerst</translation>
    </message>
  </context>
  <context>
    <name>panel.review</name>
    <message>
      <source>No region matches: change the search or the state below.</source>
      <translation>Kein Bereich passt: Ändern Sie unten die Suche oder den Zustand.</translation>
    </message>
    <message>
      <source>Region {number} of {total}, {structures}, {ml} mL</source>
      <translation>Bereich {number} von {total}, {structures}, {ml} mL</translation>
    </message>
    <message>
      <source>{total} regions to review</source>
      <translation>Zu prüfende Bereiche: {total}</translation>
    </message>
    <message>
      <source>{done} of {total} decided</source>
      <translation>{done} von {total} entschieden</translation>
    </message>
    <message>
      <source>about {minutes} min left</source>
      <translation>noch etwa {minutes} min</translation>
    </message>
    <message>
      <source>under 1 min left</source>
      <translation>noch unter 1 min</translation>
    </message>
    <message>
      <source>done</source>
      <translation>fertig</translation>
    </message>
    <message>
      <source>{done} of {total}</source>
      <translation>{done} von {total}</translation>
    </message>
    <message>
      <source>All {total} regions are decided: {accepted} accepted, {corrected} corrected, {skipped} skipped.</source>
      <translation>Alle {total} Bereiche sind entschieden: {accepted} angenommen, {corrected} korrigiert, {skipped} übersprungen.</translation>
    </message>
    <message>
      <source>The regions that are shown are decided; {count} more are hidden by the filters.</source>
      <translation>Die gezeigten Bereiche sind entschieden; die Filter blenden {count} weitere aus.</translation>
    </message>
    <message>
      <source>Show all</source>
      <translation>Alle zeigen</translation>
    </message>
    <message>
      <source>There is no segmentation of this CT to review yet.</source>
      <translation>Von diesem CT gibt es noch keine Segmentierung zu prüfen.</translation>
    </message>
    <message>
      <source>'{name}' was not made by ActiveSeg: there are no regions to review. Choose another one, or segment.</source>
      <translation>'{name}' stammt nicht von ActiveSeg: Es gibt keine Bereiche zu prüfen. Wählen Sie eine andere oder segmentieren Sie.</translation>
    </message>
    <message>
      <source>The CT of '{name}' is no longer in the scene. Load the same CT again to go on.</source>
      <translation>Das CT von '{name}' ist nicht mehr in der Szene. Laden Sie dasselbe CT erneut, um weiterzumachen.</translation>
    </message>
    <message>
      <source>This is a quick preview by a coarser model. It can be neither reviewed, edited nor exported.</source>
      <translation>Das ist eine schnelle Vorschau eines gröberen Modells. Sie kann nicht geprüft, bearbeitet oder exportiert werden.</translation>
    </message>
    <message>
      <source>'{case}' comes from a dataset and has no regions to review. Press Edit to correct it.</source>
      <translation>'{case}' kommt aus einem Datensatz und hat keine Bereiche zu prüfen. Drücken Sie Ändern, um zu korrigieren.</translation>
    </message>
    <message>
      <source>No region to review was found. Press Edit to correct the segmentation.</source>
      <translation>Es wurde kein zu prüfender Bereich gefunden. Drücken Sie Ändern, um die Segmentierung zu korrigieren.</translation>
    </message>
  </context>
  <context>
    <name>panel.run_progress</name>
    <message>
      <source>Stop</source>
      <translation>Beenden</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>Keep the segmentation as it is</source>
      <translation>Die Segmentierung lassen, wie sie ist</translation>
    </message>
    <message>
      <source>End it at once; nothing is left behind</source>
      <translation>Sofort beenden; es bleibt nichts zurück</translation>
    </message>
    <message>
      <source>Segmentation shown, refining uncertainty</source>
      <translation>Segmentierung sichtbar, Unsicherheit wird verfeinert</translation>
    </message>
    <message>
      <source>First run after the start: loading the model</source>
      <translation>Erster Lauf nach dem Start: Modell wird geladen</translation>
    </message>
    <message>
      <source>Starting</source>
      <translation>Startet</translation>
    </message>
    <message>
      <source>Waiting for another job</source>
      <translation>Wartet auf einen anderen Auftrag</translation>
    </message>
    <message>
      <source>Checking the model</source>
      <translation>Modell wird geprüft</translation>
    </message>
    <message>
      <source>Loading the model</source>
      <translation>Modell wird geladen</translation>
    </message>
    <message>
      <source>Downloading weights</source>
      <translation>Gewichte werden heruntergeladen</translation>
    </message>
    <message>
      <source>Reading the image</source>
      <translation>Bild wird gelesen</translation>
    </message>
    <message>
      <source>Preparing the image</source>
      <translation>Bild wird vorbereitet</translation>
    </message>
    <message>
      <source>Segmenting</source>
      <translation>Segmentierung läuft</translation>
    </message>
    <message>
      <source>Estimating uncertainty</source>
      <translation>Unsicherheit wird geschätzt</translation>
    </message>
    <message>
      <source>Resampling to the CT</source>
      <translation>Umrechnung auf das CT</translation>
    </message>
    <message>
      <source>Finding regions to review</source>
      <translation>Zu prüfende Bereiche werden gesucht</translation>
    </message>
    <message>
      <source>Saving</source>
      <translation>Wird gespeichert</translation>
    </message>
    <message>
      <source>{ct} is not in the scene any more; its result will be kept. {what}</source>
      <translation>{ct} ist nicht mehr in der Szene; das Ergebnis bleibt erhalten. {what}</translation>
    </message>
    <message>
      <source>, longer than expected</source>
      <translation>, länger als erwartet</translation>
    </message>
    <message>
      <source>, {seconds} s left</source>
      <translation>, noch {seconds} s</translation>
    </message>
    <message>
      <source>, {minutes} min {seconds} s left</source>
      <translation>, noch {minutes} min {seconds} s</translation>
    </message>
    <message>
      <source>, {minutes} min left</source>
      <translation>, noch {minutes} min</translation>
    </message>
  </context>
  <context>
    <name>panel.segment_search</name>
    <message>
      <source>Add '{structure}'</source>
      <translation>'{structure}' hinzufügen</translation>
    </message>
    <message>
      <source>This model has no structure '{text}'</source>
      <translation>Dieses Modell hat keine Struktur '{text}'</translation>
    </message>
  </context>
  <context>
    <name>panel.segmenting</name>
    <message>
      <source>Automatic</source>
      <translation>Automatisch</translation>
    </message>
    <message>
      <source>1 (fastest, segmentation only)</source>
      <translation>1 (am schnellsten, nur Segmentierung)</translation>
    </message>
    <message>
      <source>4 members</source>
      <translation>4 Mitglieder</translation>
    </message>
    <message>
      <source>8 members</source>
      <translation>8 Mitglieder</translation>
    </message>
    <message>
      <source>{ticked} of {all}</source>
      <translation>{ticked} von {all}</translation>
    </message>
    <message>
      <source>Structures: {ticked} of {all}</source>
      <translation>Strukturen: {ticked} von {all}</translation>
    </message>
    <message>
      <source>Structures</source>
      <translation>Strukturen</translation>
    </message>
    <message>
      <source>Options: {count} changed</source>
      <translation>Optionen: {count} geändert</translation>
    </message>
    <message>
      <source>Options</source>
      <translation>Optionen</translation>
    </message>
    <message>
      <source>Segment the chosen CT; Slicer stays usable meanwhile</source>
      <translation>Das gewählte CT segmentieren; Slicer bleibt währenddessen benutzbar</translation>
    </message>
    <message>
      <source>installing</source>
      <translation>wird installiert</translation>
    </message>
    <message>
      <source>set up</source>
      <translation>einrichten</translation>
    </message>
    <message>
      <source>Load a CT to begin.</source>
      <translation>Laden Sie ein CT, um zu beginnen.</translation>
    </message>
    <message>
      <source>load a CT</source>
      <translation>CT laden</translation>
    </message>
    <message>
      <source>starting</source>
      <translation>startet</translation>
    </message>
    <message>
      <source>Choose a model.</source>
      <translation>Wählen Sie ein Modell.</translation>
    </message>
    <message>
      <source>choose a model</source>
      <translation>Modell wählen</translation>
    </message>
    <message>
      <source>Tick at least one structure.</source>
      <translation>Kreuzen Sie mindestens eine Struktur an.</translation>
    </message>
    <message>
      <source>no structure</source>
      <translation>keine Struktur</translation>
    </message>
    <message>
      <source>refining {part} %</source>
      <translation>genauer {part} %</translation>
    </message>
    <message>
      <source>running {part} %</source>
      <translation>läuft {part} %</translation>
    </message>
    <message>
      <source>preview</source>
      <translation>Vorschau</translation>
    </message>
    <message>
      <source>done</source>
      <translation>fertig</translation>
    </message>
    <message>
      <source>Open the result</source>
      <translation>Ergebnis öffnen</translation>
    </message>
    <message>
      <source>Try again</source>
      <translation>Erneut versuchen</translation>
    </message>
    <message>
      <source>Use a lower-resolution model</source>
      <translation>Gröberes Modell verwenden</translation>
    </message>
    <message>
      <source>Use 1 member</source>
      <translation>1 Mitglied verwenden</translation>
    </message>
    <message>
      <source>Use the CPU</source>
      <translation>CPU verwenden</translation>
    </message>
    <message>
      <source>{seconds} s</source>
      <translation>{seconds} s</translation>
    </message>
    <message>
      <source>{minutes} min</source>
      <translation>{minutes} min</translation>
    </message>
  </context>
  <context>
    <name>panel.setup</name>
    <message>
      <source>Ready</source>
      <translation>Fertig</translation>
    </message>
    <message>
      <source>Slicer can be used meanwhile. Nothing outside of the engine's folder is changed.</source>
      <translation>Slicer ist währenddessen benutzbar. Außerhalb des Ordners der Engine wird nichts verändert.</translation>
    </message>
    <message>
      <source>What was downloaded is kept. Resume uses it, Remove deletes it.</source>
      <translation>Was heruntergeladen wurde, bleibt erhalten. Fortsetzen verwendet es, Entfernen löscht es.</translation>
    </message>
    <message>
      <source>{size} are kept in the folder. Resume uses them, Remove deletes them.</source>
      <translation>{size} bleiben im Ordner. Fortsetzen verwendet sie, Entfernen löscht sie.</translation>
    </message>
    <message>
      <source>ActiveSeg segments a CT, shows where the model is uncertain, and learns from your corrections. It needs an engine: a Python environment that is kept apart from Slicer's own.</source>
      <translation>ActiveSeg segmentiert ein CT, zeigt, wo das Modell unsicher ist, und lernt aus Ihren Korrekturen. Es braucht eine Engine: eine Python-Umgebung, getrennt von der in Slicer.</translation>
    </message>
    <message>
      <source>The engine is installed. Load a CT and press Segment.</source>
      <translation>Die Engine ist installiert. Laden Sie ein CT und drücken Sie Segmentieren.</translation>
    </message>
    <message>
      <source>The engine is updated.</source>
      <translation>Die Engine ist aktualisiert.</translation>
    </message>
    <message>
      <source>The engine is repaired.</source>
      <translation>Die Engine ist repariert.</translation>
    </message>
    <message>
      <source>Your own Python is used from now on.</source>
      <translation>Von jetzt an wird Ihr eigenes Python verwendet.</translation>
    </message>
    <message>
      <source>Continue</source>
      <translation>Weiter</translation>
    </message>
    <message>
      <source>Resume</source>
      <translation>Fortsetzen</translation>
    </message>
    <message>
      <source>Install</source>
      <translation>Installieren</translation>
    </message>
    <message>
      <source>{percent} %</source>
      <translation>{percent} %</translation>
    </message>
    <message>
      <source>ready</source>
      <translation>bereit</translation>
    </message>
    <message>
      <source>set up</source>
      <translation>einrichten</translation>
    </message>
  </context>
  <context>
    <name>panel.shape_warnings</name>
    <message>
      <source>Unusual: {structure}</source>
      <translation>Auffällig: {structure}</translation>
    </message>
    <message>
      <source>Unusual: {count} structures</source>
      <translation>Auffällig: {count} Strukturen</translation>
    </message>
    <message>
      <source>{value} mL instead of {low} to {high} mL</source>
      <translation>{value} mL statt {low} bis {high} mL</translation>
    </message>
    <message>
      <source>solidity {value} instead of {low} to {high}</source>
      <translation>Solidität {value} statt {low} bis {high}</translation>
    </message>
    <message>
      <source>one piece</source>
      <translation>ein Teil</translation>
    </message>
    <message>
      <source>two pieces</source>
      <translation>zwei Teile</translation>
    </message>
    <message>
      <source>{count} pieces</source>
      <translation>{count} Teile</translation>
    </message>
    <message>
      <source>{low} to {high}</source>
      <translation>{low} bis {high}</translation>
    </message>
    <message>
      <source>{pieces} instead of {usual}</source>
      <translation>{pieces} statt {usual}</translation>
    </message>
  </context>
  <context>
    <name>panel.sources</name>
    <message>
      <source>detect automatically</source>
      <translation>automatisch erkennen</translation>
    </message>
    <message>
      <source>CPU only</source>
      <translation>nur CPU</translation>
    </message>
    <message>
      <source>Choose the folder of wheels first.</source>
      <translation>Wählen Sie zuerst den Ordner mit Wheels.</translation>
    </message>
    <message>
      <source>There is no such folder of wheels.</source>
      <translation>Diesen Ordner mit Wheels gibt es nicht.</translation>
    </message>
  </context>
  <context>
    <name>panel.spreading</name>
    <message>
      <source>Apply to the rest of this case what you have corrected</source>
      <translation>Ihre Korrekturen auf den Rest dieses Falls anwenden</translation>
    </message>
    <message>
      <source>It needs {count} regions that you accepted or corrected, at least one of them corrected.</source>
      <translation>Dafür braucht es {count} Bereiche, die Sie akzeptiert oder korrigiert haben, davon mindestens einen korrigierten.</translation>
    </message>
    <message>
      <source>Apply to the rest...</source>
      <translation>Auf den Rest anwenden...</translation>
    </message>
    <message>
      <source>{count} regions are corrected. What you corrected can be applied to the rest of this case.</source>
      <translation>{count} Bereiche sind korrigiert. Ihre Korrekturen können auf den Rest dieses Falls angewendet werden.</translation>
    </message>
    <message>
      <source>Learning from the regions that you accepted and corrected...</source>
      <translation>Lernen aus den Bereichen, die Sie akzeptiert und korrigiert haben...</translation>
    </message>
    <message>
      <source>Nothing would improve in the rest of this case: it stays as it is.</source>
      <translation>Im Rest dieses Falls würde nichts besser: Er bleibt, wie er ist.</translation>
    </message>
    <message>
      <source>1 structure was changed in the rest of this case.</source>
      <translation>1 Struktur wurde im Rest dieses Falls geändert.</translation>
    </message>
    <message>
      <source>{count} structures were changed in the rest of this case.</source>
      <translation>{count} Strukturen wurden im Rest dieses Falls geändert.</translation>
    </message>
    <message>
      <source>Undo</source>
      <translation>Rückgängig</translation>
    </message>
    <message>
      <source>{count} new regions to review.</source>
      <translation>{count} neue zu prüfende Bereiche.</translation>
    </message>
    <message>
      <source>1 new region to review.</source>
      <translation>1 neuer zu prüfender Bereich.</translation>
    </message>
    <message>
      <source>Regions that you accepted or corrected stay as they are.</source>
      <translation>Bereiche, die Sie akzeptiert oder korrigiert haben, bleiben, wie sie sind.</translation>
    </message>
    <message>
      <source>This would change in the rest of the case:</source>
      <translation>Das würde sich im Rest des Falls ändern:</translation>
    </message>
    <message>
      <source>Expected where you have not corrected: Dice +{points} points.</source>
      <translation>Erwartet, wo Sie nicht korrigiert haben: Dice +{points} Punkte.</translation>
    </message>
  </context>
  <context>
    <name>panel.steps</name>
    <message>
      <source>Segment</source>
      <translation>Segmentieren</translation>
    </message>
    <message>
      <source>Review</source>
      <translation>Prüfen</translation>
    </message>
    <message>
      <source>Export</source>
      <translation>Export</translation>
    </message>
    <message>
      <source>Learn</source>
      <translation>Lernen</translation>
    </message>
    <message>
      <source>Back to {step}</source>
      <translation>Zurück zu {step}</translation>
    </message>
  </context>
  <context>
    <name>panel.training</name>
    <message>
      <source>Resume</source>
      <translation>Fortsetzen</translation>
    </message>
    <message>
      <source>Pause</source>
      <translation>Pause</translation>
    </message>
    <message>
      <source>Cancel the training? What {time} of training have learned is lost; Pause would keep it.</source>
      <translation>Das Training abbrechen? Was in {time} gelernt wurde, geht verloren; mit Pause bleibt es erhalten.</translation>
    </message>
    <message>
      <source>Cancel the training? Everything it has learned so far is lost; Pause would keep it.</source>
      <translation>Das Training abbrechen? Alles bisher Gelernte geht verloren; mit Pause bleibt es erhalten.</translation>
    </message>
    <message>
      <source>Cancel training</source>
      <translation>Training abbrechen</translation>
    </message>
    <message>
      <source>Keep training</source>
      <translation>Weiter trainieren</translation>
    </message>
    <message>
      <source>Show</source>
      <translation>Anzeigen</translation>
    </message>
    <message>
      <source>The reason is in its log.</source>
      <translation>Der Grund steht im Protokoll.</translation>
    </message>
    <message>
      <source>{version} is kept, and not used: {reason}</source>
      <translation>{version} bleibt erhalten, wird aber nicht verwendet: {reason}</translation>
    </message>
    <message>
      <source>The training of {name} has stopped and can be resumed.</source>
      <translation>Das Training von {name} wurde angehalten und kann fortgesetzt werden.</translation>
    </message>
    <message>
      <source> (Dice {before:.3f} → {after:.3f})</source>
      <translation> (Dice {before:.3f} → {after:.3f})</translation>
    </message>
    <message>
      <source>{version} is better{dice} and is used from now on.</source>
      <translation>{version} ist besser{dice} und wird von jetzt an verwendet.</translation>
    </message>
    <message>
      <source>{version} is better{dice} and is the current version of {name}.</source>
      <translation>{version} ist besser{dice} und ist die aktuelle Version von {name}.</translation>
    </message>
    <message>
      <source>Segment with it</source>
      <translation>Damit segmentieren</translation>
    </message>
    <message>
      <source>A training of {name} is running; it was started before Slicer.</source>
      <translation>Ein Training von {name} läuft; es wurde schon vor Slicer gestartet.</translation>
    </message>
    <message>
      <source>Starting</source>
      <translation>Startet</translation>
    </message>
    <message>
      <source>Preparing the cases</source>
      <translation>Fälle werden vorbereitet</translation>
    </message>
    <message>
      <source>Training</source>
      <translation>Training</translation>
    </message>
    <message>
      <source>Measuring on the held-out cases</source>
      <translation>Messung an den zurückgehaltenen Fällen</translation>
    </message>
    <message>
      <source>Done</source>
      <translation>Fertig</translation>
    </message>
    <message>
      <source>Failed</source>
      <translation>Fehlgeschlagen</translation>
    </message>
    <message>
      <source>Cancelled</source>
      <translation>Abgebrochen</translation>
    </message>
    <message>
      <source>Stopped, can be resumed</source>
      <translation>Angehalten, kann fortgesetzt werden</translation>
    </message>
    <message>
      <source>Paused</source>
      <translation>Pausiert</translation>
    </message>
    <message>
      <source>{what}: member {member}, epoch {epoch}</source>
      <translation>{what}: Mitglied {member}, Epoche {epoch}</translation>
    </message>
    <message>
      <source>, loss {loss:.3f}</source>
      <translation>, Loss {loss:.3f}</translation>
    </message>
    <message>
      <source>, {left} left</source>
      <translation>, noch {left}</translation>
    </message>
    <message>
      <source>{hours} h {minutes} min</source>
      <translation>{hours} h {minutes} min</translation>
    </message>
  </context>
  <context>
    <name>panel.training_curves</name>
    <message>
      <source>Curves appear after the second epoch.</source>
      <translation>Kurven erscheinen nach der zweiten Epoche.</translation>
    </message>
    <message>
      <source>loss</source>
      <translation>Loss</translation>
    </message>
    <message>
      <source>mean Dice on training patches</source>
      <translation>mittlerer Dice auf Trainingsausschnitten</translation>
    </message>
    <message>
      <source>{count} epochs</source>
      <translation>{count} Epochen</translation>
    </message>
    <message>
      <source>, loss {loss:.3f}</source>
      <translation>, Loss {loss:.3f}</translation>
    </message>
    <message>
      <source>, mean Dice {dice:.3f}</source>
      <translation>, mittlerer Dice {dice:.3f}</translation>
    </message>
  </context>
  <context>
    <name>panel.training_plan</name>
    <message>
      <source>New to the model: {names}. Check this under Cases before the first training.</source>
      <translation>Neu für das Modell: {names}. Prüfen Sie das vor dem ersten Training unter Fälle.</translation>
    </message>
    <message>
      <source>Cases left out because they have no patient ID: {count}. Assign it under Cases.</source>
      <translation>Ohne Patienten-ID ausgelassene Fälle: {count}. Ordnen Sie die ID unter Fälle zu.</translation>
    </message>
    <message>
      <source>begins with</source>
      <translation>beginnt mit</translation>
    </message>
    <message>
      <source>training cases</source>
      <translation>Trainingsfälle</translation>
    </message>
    <message>
      <source>held out</source>
      <translation>zurückgehalten</translation>
    </message>
    <message>
      <source>time, memory</source>
      <translation>Dauer, Speicher</translation>
    </message>
    <message>
      <source>being estimated...</source>
      <translation>wird geschätzt...</translation>
    </message>
    <message>
      <source>press Preview training</source>
      <translation>Trainingsvorschau drücken</translation>
    </message>
    <message>
      <source>Train on {cases} cases? It takes {time}, and {memory} of memory.</source>
      <translation>Jetzt trainieren? Fälle: {cases}, Dauer: {time}, Speicher: {memory}.</translation>
    </message>
    <message>
      <source>Train</source>
      <translation>Trainieren</translation>
    </message>
  </context>
  <context>
    <name>panel.unclear_segments</name>
    <message>
      <source>choose...</source>
      <translation>wählen...</translation>
    </message>
    <message>
      <source>leave it out</source>
      <translation>weglassen</translation>
    </message>
  </context>
  <context>
    <name>panel.undoing</name>
    <message>
      <source>Undo</source>
      <translation>Rückgängig</translation>
    </message>
    <message>
      <source>Redo</source>
      <translation>Wiederholen</translation>
    </message>
    <message>
      <source>the last edit</source>
      <translation>die letzte Bearbeitung</translation>
    </message>
    <message>
      <source>nothing</source>
      <translation>nichts</translation>
    </message>
    <message>
      <source>{verb}: {what} ({key})</source>
      <translation>{verb}: {what} ({key})</translation>
    </message>
    <message>
      <source>region {number} {state}</source>
      <translation>Bereich {number} {state}</translation>
    </message>
  </context>
  <context>
    <name>panel.versions</name>
    <message>
      <source>{version} (current)</source>
      <translation>{version} (aktuell)</translation>
    </message>
    <message>
      <source>{second} compared with {first}</source>
      <translation>{second} gegen {first}</translation>
    </message>
    <message>
      <source>Make {version} the current version, whatever the comparison says?</source>
      <translation>{version} zur aktuellen Version machen, unabhängig vom Vergleich?</translation>
    </message>
    <message>
      <source>Make current</source>
      <translation>Verwenden</translation>
    </message>
    <message>
      <source>Return to the version before {version}? {version} is kept, and can be made current again.</source>
      <translation>Zur Version vor {version} zurückkehren? {version} bleibt erhalten und kann wieder aktuell werden.</translation>
    </message>
    <message>
      <source>Roll back</source>
      <translation>Zurücknehmen</translation>
    </message>
    <message>
      <source>{version} is the current version now.</source>
      <translation>{version} ist jetzt die aktuelle Version.</translation>
    </message>
    <message>
      <source>Export the version</source>
      <translation>Die Version exportieren</translation>
    </message>
    <message>
      <source>Written to {file}</source>
      <translation>Geschrieben nach {file}</translation>
    </message>
    <message>
      <source>Import an exported version</source>
      <translation>Eine exportierte Version importieren</translation>
    </message>
    <message>
      <source>Dice</source>
      <translation>Dice</translation>
    </message>
    <message>
      <source>Surface Dice</source>
      <translation>Oberflächen-Dice</translation>
    </message>
    <message>
      <source>HD95 (mm)</source>
      <translation>HD95 (mm)</translation>
    </message>
    <message>
      <source>Volume error</source>
      <translation>Volumenfehler</translation>
    </message>
    <message>
      <source>base: the model that the project began with, {model}.</source>
      <translation>base: das Modell, mit dem das Projekt begann, {model}.</translation>
    </message>
  </context>
  <context>
    <name>panel.view_3d</name>
    <message>
      <source>3D: the region and what lies around it</source>
      <translation>3D: der Bereich und seine Umgebung</translation>
    </message>
    <message>
      <source>3D: the whole segmentation</source>
      <translation>3D: die ganze Segmentierung</translation>
    </message>
    <message>
      <source>{percent} %</source>
      <translation>{percent} %</translation>
    </message>
  </context>
  <context>
    <name>panel.weights</name>
    <message>
      <source>Enter the licence number</source>
      <translation>Lizenznummer eingeben</translation>
    </message>
    <message>
      <source>Add weights from a file...</source>
      <translation>Gewichte aus einer Datei hinzufügen...</translation>
    </message>
    <message>
      <source>A zip of TotalSegmentator's weights</source>
      <translation>Eine Zip-Datei mit Gewichten von TotalSegmentator</translation>
    </message>
    <message>
      <source>Adding the weights...</source>
      <translation>Gewichte werden hinzugefügt...</translation>
    </message>
    <message>
      <source>The weights of {model} are installed.</source>
      <translation>Die Gewichte von {model} sind installiert.</translation>
    </message>
    <message>
      <source>The licence number is kept for TotalSegmentator.</source>
      <translation>Die Lizenznummer ist für TotalSegmentator gespeichert.</translation>
    </message>
  </context>
</TS>
