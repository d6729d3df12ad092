"""What a command that trains with labels has computed, kept and shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from helpers import files, hardware
from helpers.cli import flags
from helpers.evaluation import protocols, results


@dataclasses.dataclass
class Report:
    """What a command has computed, saved as it comes and printed at the end.

    The table is printed too where the command ends by an error or by Ctrl-C.

    Attributes:
        args: of the command.
    """

    args: flags.EvaluationFlags
    records: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    errors: list[str] = dataclasses.field(default_factory=list)

    def add(self, outcome: protocols.Outcome, classes: Sequence[str]) -> None:
        """Save a record and its classifier; what fails is said after the table."""
        record = outcome.record
        self.records.append(record)
        if not hardware.is_first_process():  # the others have the same
            return
        if outcome.scores.is_unbalanced:
            said = files.printable(outcome.scores.describe(classes))
            self.remarks.append(f"{record['protocol']}: {said}")
        try:
            results.save(record, self.args.results_folder, self.args.mirror)
            if outcome.network and not record["folds"]:
                file = outcome.save_classifier(self.args.classifier)
                print(f"The classifier ({record['protocol']}) is {file}.")
        except OSError as error:
            self.errors.append(str(error))

    def refuse(self, protocol: str, error: Exception) -> None:
        """Note that a protocol cannot run, and why; the others still may."""
        self.refused.setdefault(str(error), []).append(protocol)

    def __enter__(self) -> Report:
        """See the class."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Print the table, and why protocols that could not run are not in it.

        Raises:
            ValueError: when none could run.
            OSError: when something could not be saved.
        """
        for reason, names in self.refused.items():
            names = dict.fromkeys(names)  # a reason may hold for folds as well
            self.remarks.append(f"{', '.join(names)}: not run. {reason}")
        if kind is None and not self.records:
            raise ValueError(" ".join(self.remarks))
        if not self.records or not hardware.is_first_process():
            return
        print(results.markdown(self.records), *self.remarks, sep="\n")
        if self.errors and kind is None:
            raise OSError(" ".join(self.errors))
