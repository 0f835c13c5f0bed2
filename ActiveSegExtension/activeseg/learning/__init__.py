"""The loop: a project's hold-out, fine-tuning on its corrections, its versions, and the gate."""
