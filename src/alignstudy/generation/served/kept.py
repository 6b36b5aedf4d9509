"""Responses that a server gave, kept one by one until their stage is finished."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from alignstudy.errors import AlignstudyError
from alignstudy.records import Response
from alignstudy.runtime.keyed_file import KeyedFile

Key = tuple[str, int]
"""A prompt's id, and the number of the response."""

_PROOF = "proof"


class KeptResponses:
    """Responses in a file, stored one by one: a kill costs those that were being written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._number = KeyedFile(path, what="responses"), 0

    def read(self, asked: Sequence[Key]) -> dict[Key, Response]:
        """Return those that are there."""
        names = {_name(*key): key for key in asked}
        found = self._file.get(list(names))
        self._number = len(found)
        return {names[name]: Response(**json.loads(value)) for name, value in found.items()}

    def store(self, response: Response) -> None:
        """Store one."""
        self._put(_name(response.prompt_id, response.sample), asdict(response))
        self._number += 1

    def store_proof(self, said: Mapping[str, str]) -> None:
        """Store what the server showed before it was believed."""
        self._put(_PROOF, said)

    def proof(self) -> dict[str, str]:
        """Return what the first server showed; {} if none was asked."""
        found = self._file.get([_PROOF])
        return dict(json.loads(found[_PROOF])) if found else {}

    def _put(self, name: str, value: Mapping[str, object]) -> None:
        self._file.put({name: json.dumps(value).encode("ascii")})

    @contextmanager
    def told(self, of: int) -> Iterator[None]:
        """Say in every error how many responses are kept."""
        try:
            yield
        except AlignstudyError as error:
            error.kept = error.kept or (
                f"{self._number} of {of} responses, and every finished stage: the same command"
                " goes on from there"
            )
            raise


def _name(prompt_id: str, sample: int) -> str:
    return f"{sample}/{prompt_id}"
