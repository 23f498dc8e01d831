"""Images on the device, augmentation, seeds, pretraining, training, evaluation."""
