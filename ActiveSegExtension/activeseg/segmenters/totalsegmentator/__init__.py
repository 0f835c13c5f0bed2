"""TotalSegmentator's tasks, run by its own package in a sandbox.

The code here goes together with one exact version of the package, **2.18.0** (``client/environment/engine-lock.txt``).
While a task runs, or its weights are fetched, it replaces these eight names, and puts them back afterwards:

* ``nnunet.nnUNetv2_predict``, ``nnunet.nnUNet_predict_image``, ``nnunet.change_spacing``, ``nnunet.nostdout``
  (``predict``)
* ``python_api.download_pretrained_weights``, ``python_api.convert_device_to_string`` (``predict``)
* ``libs.requests``, ``libs.tqdm`` (``weights``)

A new version of the package means: look at these, and run Testing/engine/test_totalsegmentator*.py, which compare every
kind of task with the original package, voxel by voxel.
"""
