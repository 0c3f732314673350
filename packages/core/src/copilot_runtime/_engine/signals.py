"""Polls the store for what other processes ask of this process's runs."""

from __future__ import annotations

import threading
import time

from .._concurrency import loops
from ..stores.protocol import LeaseSignal, RunStore
from .endings import STOPPED_BY_USER
from .outage_log import OutageLog
from .run_writer import RunWriter


class SignalPoller:
    """Polls for the signals of all runs of this process, on a thread of its own.

    On a thread, since a store that is polled may block, and because most polls find nothing: an event loop that only
    learns of signals is not woken twenty times a second, and needs no task, future and pool thread for each poll.

    Args:
        store: The store.
        poll_seconds: How often it is polled while any run is active.
    """

    def __init__(self, store: RunStore, poll_seconds: float) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._writers: dict[RunWriter, None] = {}
        self._has_writers = threading.Event()
        self._outage = OutageLog("polling for stop requests")

    def start(self) -> None:
        """Starts the thread. To be called once."""
        loops.start_thread(self._run, name="copilot-runtime-signals")

    def add(self, writer: RunWriter) -> None:
        """Polls for the signals of a run from now on."""
        self._writers[writer] = None
        if not self._has_writers.is_set():
            self._has_writers.set()

    def discard(self, writer: RunWriter) -> None:
        """Stops polling for the signals of a run."""
        self._writers.pop(writer, None)

    def _run(self) -> None:
        while True:
            self._has_writers.wait()
            self._has_writers.clear()
            while self._writers:
                time.sleep(self._poll_seconds)
                self._poll()

    def _poll(self) -> None:
        polled = [writer for writer in list(self._writers) if not writer.is_closed]
        for writer in [writer for writer in polled if writer.loop.is_closed()]:
            self.discard(writer)  # nothing on that loop can ever end the run
        try:
            signals = self._store.poll_signals([writer.lease for writer in polled]) if polled else {}
        except Exception as error:
            self._outage.failed(error)
            return
        self._outage.recovered()
        if not signals:  # usually: leases take long to hash
            return
        for writer in polled:
            signal = signals.get(writer.lease)
            if signal is LeaseSignal.STOP:
                writer.stop(STOPPED_BY_USER)
            elif signal is LeaseSignal.LOST:
                writer.report_lost()
