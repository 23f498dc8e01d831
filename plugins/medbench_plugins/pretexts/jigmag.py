"""JigMag puzzles: magnifications out of order."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import torch
from torch import Tensor, nn

from medbench.augment.draws import uniform
from medbench.augment.geometry import crop_resize
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench_plugins.pretexts.answers import OrderHead, choose
from medbench_plugins.pretexts.settings import SMALL_SIDE, JigMagSettings

#: Crops smaller than this show nothing.
_SMALLEST_CROP = 4


class JigMag(Pretext):
    """Asks in which order the magnifications of an image come.

    For each magnification s, a square of side/s is cut out of the image and
    resized to a common size; the M tiles are put into one of the M! orders,
    and the order has to be found::

        L = -1/B sum_i log p_k(f(t_{k,1}), ..., f(t_{k,M})),  k = 1 ... M!

    The original takes the magnifications from the microscope, all about one centre.

    From images of one resolution they are centred crops [I]; the preset
    ``random-crops`` takes each tile elsewhere. The common size is by default that
    of the smallest crop, so that tiles are only ever shrunk, with antialiasing:
    enlarged tiles could be distinguished by their blur alone. Sharpness still tells much: see
    docs/fidelity.md. A published
    re-implementation stacks the tiles as channels, so that its first layer cannot
    be used afterwards; here one trunk sees the tiles one by one.

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : JigMagSettings
        Settings.

    References
    ----------
    Koohbanani, Unnikrishnan, Khurram, Krishnaswamy, Rajpoot: Self-Path:
    Self-supervision for Classification of Pathology Images with Limited
    Annotations. IEEE TMI 2021. arXiv 2008.05571.
    """

    Settings = JigMagSettings
    settings: JigMagSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the classifier of the orders.

        Raises
        ------
        medbench.errors.MedbenchError
            If the images are too small for the largest magnification.
        """
        ladder = self.settings.ladder(space.size)
        largest = max(ladder)
        if space.size / largest < _SMALLEST_CROP:
            raise MedbenchError(
                f"jigmag: images of {space.size} px magnified {largest:g} times leave crops of "
                f"{space.size / largest:.1f} px, fewer than {_SMALLEST_CROP}: "
                "use larger images or smaller magnifications"
            )
        tiles = len(ladder)
        return OrderHead(tiles, feature_dim, self.settings.hidden, factorial(tiles))

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Ask for the order of the tiles of each image; B questions."""
        tiles, answers = self.puzzles(images, rng)
        return choose(head(backbone(tiles.flatten(0, 1))), answers)

    def chance(self, batch_size: int) -> float:
        """Return one over the number of orders."""
        return 1 / factorial(len(self.settings.ladder(SMALL_SIDE)))

    def puzzles(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut tiles of all magnifications and shuffle them.

        Parameters
        ----------
        images : torch.Tensor of float32, shape (B, C, S, S)
            Images in [0, 1].
        rng : torch.Generator
            On the images' device.

        Returns
        -------
        tiles : torch.Tensor of float32, shape (B, M, C, t, t)
            Tiles in shuffled order.
        answers : torch.Tensor of int64, shape (B,)
            Which of the permutations of ``range(M)``, in lexicographic order,
            it was; tile j has magnification ``ladder[permutation[j]]``, where ladder
            is :meth:`JigMagSettings.ladder` of S.
        """
        batch, side = len(images), images.shape[-1]
        ladder = self.settings.ladder(side)
        magnifications = torch.tensor(ladder, device=images.device)
        orders = torch.tensor(list(permutations(range(len(magnifications)))), device=images.device)
        answers = torch.randint(len(orders), (batch,), generator=rng, device=images.device)
        extent = side / magnifications[orders[answers]]
        top, left = (
            (side - extent)
            * (0.5 if self.settings.crop == "centre" else uniform(rng, tuple(extent.shape), 0, 1))
            for _ in range(2)
        )
        size = self.settings.tile_size or int(side / max(ladder))
        return crop_resize(images, top, left, extent, extent, (size, size)), answers
