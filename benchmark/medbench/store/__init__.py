"""Records, pretrained weights and failures on disk. Loads no torch."""
