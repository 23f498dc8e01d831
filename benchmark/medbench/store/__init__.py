"""Records, pretrained weights and attempts on disk. Loads no torch."""
