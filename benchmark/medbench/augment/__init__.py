"""Batched augmentation on the device.

Images are float tensors (B, C, H, W) in [0, 1] with C = 1 or 3. Every sample
draws its own parameters, always from the generator that is handed in, so the
same generator state gives the same bits whatever else the process does.
"""

from medbench.augment.pipelines import augment, simclr_view

__all__ = ["augment", "simclr_view"]
