"""The errors a user can meet, each one line long and with a cure."""

from __future__ import annotations


class MedbenchError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    The command line prints the message on one line and exits with status 2;
    the traceback appears only with ``--debug``.
    """


class PluginError(MedbenchError):
    """A plugin is unknown, broken, of the wrong type or clashes with another."""


class ProtocolError(MedbenchError):
    """A protocol file is missing, malformed or asks for the impossible."""


class NotPreparedError(MedbenchError):
    """A dataset has to be prepared by the user before it can be used."""


class StoreError(MedbenchError):
    """A results folder or a record cannot be read or written."""


class UnwritableError(StoreError):
    """A results folder cannot be written: its disk is full, read-only or gone."""


class RecordError(StoreError):
    """One record is truncated, altered or of a version this medbench cannot read."""


class DeviceError(MedbenchError):
    """The device asked for is not there."""


class ClusterError(MedbenchError):
    """A cluster refuses what was asked of it, or cannot be reached."""
