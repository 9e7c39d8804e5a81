# SPDX-License-Identifier: Apache-2.0
"""The kinds of log entries, as identifiers that never change: filters of the journal rely on them.

Texts may improve with each version. A published identifier is neither changed nor used for something else;
docs/commands.md says what each means.
"""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """The values of the journal field GEODROP_EVENT; in other logs the key is `kind`."""

    AGENT_DOUBTFUL = "agent-doubtful"
    ASKED = "asked"
    AUDIT_FAILED = "audit-failed"
    BUG = "bug"
    CONFIRMED = "confirmed"
    DATABASE_OLD = "database-old"
    DEADLINE_FAILED = "deadline-failed"
    EXEMPTED = "exempted"
    FALL_BACK_WARNING = "fall-back-warning"
    FELL_BACK = "fell-back"
    FILES_CHANGED = "files-changed"
    HELD = "held"
    INTERFACES_CHANGED = "interfaces-changed"
    LAST_GOOD_FAILED = "last-good-failed"
    LOOK_FAILED = "look-failed"
    LOOP_FAILED = "loop-failed"
    MAPS_NOT_WHOLE = "maps-not-whole"
    MAPS_WHOLE = "maps-whole"
    NOT_ENFORCED = "not-enforced"
    NO_LAST_GOOD = "no-last-good"
    NO_SOCKET_FOR_READERS = "no-socket-for-readers"
    PAUSED = "paused"
    REGIONS_APART = "regions-apart"
    REGIONS_NOT_APART = "regions-not-apart"
    RECORDED = "recorded"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload-failed"
    REPAIRED = "repaired"
    REPAIR_DID_NOT_LAST = "repair-did-not-last"
    RESUMED = "resumed"
    ROLLED_BACK = "rolled-back"
    SCHEDULED = "scheduled"
    SCHEDULE_FAILED = "schedule-failed"
    STARTED_NEWER = "started-newer"
    STARTED_NOT_CONFIRMED = "started-not-confirmed"
    STARTED_ROLLED_BACK = "started-rolled-back"
    STARTED_UNLOADED = "started-unloaded"
    START_FAILED = "start-failed"
    STOPPING = "stopping"
    TAKEN_OVER = "taken-over"
    TASK_FAILED = "task-failed"
    UNDONE = "undone"
    UNLOADED = "unloaded"
    UNWRITTEN = "unwritten"
    WRITTEN = "written"
