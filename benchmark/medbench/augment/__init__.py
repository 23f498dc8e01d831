"""Batched augmentation on the device: public, for plugins of all packages.

Images are float tensors (B, C, H, W) in [0, 1] with C = 1 or 3. Every sample
draws its own parameters, always from the generator that is handed in, so the
same generator state gives the same bits, independent of all else in the process.
"""

from medbench.augment.pipelines import augment, simclr_view

__all__ = ["augment", "simclr_view"]
