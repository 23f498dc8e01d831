"""Jigsaw puzzles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medbench.augment.colour import to_grey
from medbench.augment.draws import bernoulli
from medbench.augment.geometry import crop_resize
from medbench.errors import MedbenchError
from medbench.interfaces import ImageSpace, Pretext, PretextStep
from medbench_plugins.pretexts.answers import OrderHead, choose
from medbench_plugins.pretexts.permutations import distant_permutations
from medbench_plugins.pretexts.settings import JigsawSettings

#: Tiles smaller than this show nothing.
_SMALLEST_TILE = 4


class Jigsaw(Pretext):
    """Asks in which order the tiles of an image were shuffled.

    The image is cut into grid x grid cells; a tile smaller than its cell is
    taken from a random place within it, so that edges do not run on from tile
    to tile. The tiles are put into one of K orders (see
    :func:`~medbench_plugins.pretexts.permutations.distant_permutations`); one
    trunk looks at each tile alone, the head at the features of all, and::

        L = -1/B sum_i log p_k(f(t_{k,1}), ..., f(t_{k,T})),  T = grid²

    Shortcuts and what is done about them: the slip of colour channels against
    chromatic aberration; greyness for some images; and every tile's channels
    are brought to the same mean and standard deviation, so that brightness
    gives no place away. As backbones normalise images themselves, tiles get the
    mean and standard deviation that the whole batch of images has in that
    channel: after the backbone's own normalisation they look like any batch, and
    the first layer sees the range it will see later. Values may leave [0, 1].

    Parameters
    ----------
    name : str
        The name of the pretext in the protocol.
    settings : JigsawSettings
        Settings.

    References
    ----------
    Noroozi, Favaro: Unsupervised Learning of Visual Representations by Solving
    Jigsaw Puzzles. ECCV 2016. arXiv 1603.09246.
    """

    Settings = JigsawSettings
    settings: JigsawSettings

    def make_head(self, feature_dim: int, space: ImageSpace) -> nn.Module:
        """Build the classifier of the orders.

        Raises
        ------
        medbench.errors.MedbenchError
            If the images are too small for the grid, or the grid for the permutations.
        """
        self._sizes(space.size)
        orders = distant_permutations(self.settings.grid**2, self.settings.permutations)
        return OrderHead(self.settings.grid**2, feature_dim, self.settings.hidden, len(orders))

    def loss(
        self, backbone: nn.Module, head: nn.Module, images: Tensor, rng: torch.Generator
    ) -> PretextStep:
        """Ask for the order of the tiles of each image; B questions."""
        tiles, answers = self.puzzles(images, rng)
        return choose(head(backbone(tiles.flatten(0, 1))), answers)

    def chance(self, batch_size: int) -> float:
        """Return 1 / permutations."""
        return 1 / self.settings.permutations

    def puzzles(self, images: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Cut, shuffle and normalise tiles.

        Parameters
        ----------
        images : torch.Tensor of float32, shape (B, C, S, S)
            Images in [0, 1].
        rng : torch.Generator
            On the images' device.

        Returns
        -------
        tiles : torch.Tensor of float32, shape (B, T, C, t, t)
            Tiles in shuffled order.
        answers : torch.Tensor of int64, shape (B,)
            Which order it was.
        """
        batch = len(images)
        orders = distant_permutations(self.settings.grid**2, self.settings.permutations)
        answers = torch.randint(len(orders), (batch,), generator=rng, device=images.device)
        cells = torch.tensor(orders, device=images.device)[answers]
        images = to_grey(images, bernoulli(rng, batch, self.settings.grey))
        return self.cut(images, cells, rng), answers

    def cut(self, images: Tensor, cells: Tensor, rng: torch.Generator) -> Tensor:
        """Take one normalised tile out of each of the ``cells`` (int64, (B, T)), in their order."""
        cell, tile, margin = self._sizes(images.shape[-1])
        channels = images.shape[1]
        room = cell - self.settings.gap - tile
        top, left = (
            margin + cell * place[..., None] + self._slide((*cells.shape, channels), room, rng)
            for place in (cells // self.settings.grid, cells % self.settings.grid)
        )
        extent = torch.full((1, 1), float(tile), device=images.device)
        size = self.settings.tile_size or tile
        tiles = crop_resize(images, top, left, extent, extent, (size, size))
        return _match_statistics(tiles, images)

    def _slide(self, shape: tuple[int, int, int], room: int, rng: torch.Generator) -> Tensor:
        """Draw where in its cell each tile (B, T, C) lies, its channels a little apart."""
        slip = self.settings.channel_shift if shape[2] > 1 else 0
        together = torch.randint(room + 1, (*shape[:2], 1), generator=rng, device=rng.device)
        apart = torch.randint(-slip, slip + 1, shape, generator=rng, device=rng.device)
        return (together + apart).clamp(0, room).float()

    def _sizes(self, side: int) -> tuple[int, int, int]:
        """Return the sides of a cell and of a tile, and the pixels left over before the first."""
        cell = side // self.settings.grid
        tile = min(int(cell * self.settings.tile_share), cell - self.settings.gap)
        if tile < _SMALLEST_TILE:
            raise MedbenchError(
                f"jigsaw: images of {side} px, grid {self.settings.grid}: cells of {cell} px leave "
                f"tiles of {max(tile, 0)} px, fewer than {_SMALLEST_TILE}: use larger images, "
                "a smaller grid, a smaller gap or a larger tile_share"
            )
        return cell, tile, (side - cell * self.settings.grid) // 2


def _match_statistics(tiles: Tensor, images: Tensor) -> Tensor:
    """Give every channel of every tile the mean and standard deviation of the whole batch."""
    std, mean = torch.std_mean(tiles, (-2, -1), correction=0, keepdim=True)
    target_std, target_mean = torch.std_mean(images, (0, 2, 3), correction=0, keepdim=True)
    # Flat background stays nearly flat; its noise must not be blown up to full contrast.
    return (tiles - mean) * (target_std / std.clamp(min=2 / 255)) + target_mean
