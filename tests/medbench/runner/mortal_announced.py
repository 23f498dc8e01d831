"""Announces the plugins of mortal.py; imports no torch."""

from __future__ import annotations

from medbench import Plugin, hookimpl


def plugin(name: str, target: str, settings: str, module: str = "mortal") -> Plugin:
    return Plugin(
        name=name,
        target=f"{module}:{target}",
        summary="is killed once",
        interface=1,
        settings=f"mortal:{settings}",
    )


@hookimpl
def medbench_methods() -> list[Plugin]:
    return [
        plugin("mortal-dividemix", "MortalDivideMix", "MortalDivideMixSettings"),
        plugin("mortal-co-teaching", "MortalCoTeaching", "MortalCoTeachingSettings"),
        plugin("raises-once", "RaisesOnce", "MortalCoTeachingSettings"),
        plugin("mortal-edited", "Edited", "MortalCoTeachingSettings", "mortal_edited"),
    ]


@hookimpl
def medbench_noise_models() -> list[Plugin]:
    return [
        Plugin(
            name="mortal-symmetric",
            target="mortal:MortalSymmetric",
            summary="its evaluator process is killed once, when it evaluates",
            interface=1,
        )
    ]


@hookimpl
def medbench_pretexts() -> list[Plugin]:
    return [plugin("mortal-rotation", "MortalRotation", "MortalRotationSettings")]
