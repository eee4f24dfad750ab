"""Finished episodes on disk, so that long work can be interrupted."""
import json
from pathlib import Path


class Ledger:
    """Finished episodes, one line each, so that an interrupted run goes on where it stopped. `results` has them by seed."""

    def __init__(self, path, fingerprint):
        self.path, self.fingerprint, self.results = Path(path), fingerprint, {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                entry = json.loads(line)
            except ValueError:     # the line that was being written when the run was cut off
                continue
            if entry.get('fingerprint') == fingerprint:
                self.results[entry['seed']] = entry

    def add(self, results):
        """Keep finished episodes: mappings with a 'seed'."""
        with self.path.open('a') as file:
            file.write('\n')     # the line before may have been cut off
            for result in results:
                self.results[result['seed']] = result
                file.write(json.dumps({'fingerprint': self.fingerprint, **result}) + '\n')
