"""TEMPORARY until the branch run is merged."""

from dataclasses import dataclass

from ..wire import Resource


@dataclass(frozen=True)
class ReleaseCommand(Resource):
    app: str
    release: str
    command: str
    seconds: int
