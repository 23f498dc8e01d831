"""The full-size originals of the embedded datasets, prepared from the user's own download."""

from __future__ import annotations

from medbench.data.hdf5_dataset import PreparedDataset


class NctCrcHe100k(PreparedDataset):
    """NCT-CRC-HE-100K for training, CRC-VAL-HE-7K as its test set, 224 px, 9 tissue classes.

    Kather, Halama, Marx 2018, doi:10.5281/zenodo.1214456. The 100,000 training
    tiles have no patient ids, so the validation split may share patients with
    training; the 7,180 test tiles come from 50 other patients.
    """


class CovidQuEx(PreparedDataset):
    """COVID-QU-Ex complete: 33,920 chest X-rays of 256 px, 3 classes, lung masks.

    Tahir et al. 2021, doi:10.1016/j.compbiomed.2021.105002, data
    doi:10.34740/kaggle/dsv/3122958. Classes are confounded with source hospital
    and patient age; there are no patient ids.
    """
