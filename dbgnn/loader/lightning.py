"""What PyTorch Lightning needs, which makes a loader again to give it a sampler of its own. It is not imported here."""

from __future__ import annotations

from typing import Any

#: How Lightning's records are named on an object: the arguments of its constructor, and what was set since.
_RECORDS = ("__pl_saved_", "__pl_attrs_record")


def forget_constructor(loader: Any) -> None:
    """Have Lightning make the loader again from its attributes, which are what the loader is now.

    In its ``*_dataloader`` hooks Lightning records the arguments of the constructors that it found before. A loader class that
    is imported in the hook is not among them, and so torch's own constructor is recorded, with other arguments, and what ours
    did after it as set by the user; and what was set on a loader's sampler since is in no record. Without one, Lightning takes
    the attributes named as arguments.
    """
    for name in [name for name in loader.__dict__ if name.startswith(_RECORDS)]:
        del loader.__dict__[name]
