"""Memory as versioned playbooks: recall by cue, learn by evidence first and by new lessons second."""

from __future__ import annotations

from atlas.memory.curator import Curator, Lesson
from atlas.memory.gate import observed, outcome, proposed, refuted
from atlas.memory.merge import merged, next_version
from atlas.memory.recall import matches, preview, recall
from atlas.memory.rollback import harm, together
from atlas.memory.rules import MemoryRules
from atlas.memory.text import folded
from atlas.models import Caller
from atlas.schema import Background, Cue, Entry, Evidence, Playbook, Recalled, Session, Task
from atlas.schema.errors import BudgetError, ModelError
from atlas.schema.events import Failure, LearningFailed


class PlaybookMemory:
    """The memory of every tenant and key; it holds no state of its own."""

    def __init__(self, rules: MemoryRules, curator: Curator | None = None) -> None:
        """Without a curator nothing new is written, but what is there is still judged by what happens."""
        self._rules = rules
        self._curator = curator

    def recall(self, task: Task, background: Background, session_id: str) -> tuple[Recalled, Recalled]:
        """What the student and the teacher of this session see. At most one lesson of a session is compared."""
        student = recall(task, background.student, session_id, self._rules)
        teacher = recall(task, background.teacher, session_id, self._rules)
        if student.compared is not None and teacher.compared is not None:
            teacher = teacher.model_copy(update={"compared": None})
        return student, teacher

    def preview(self, task: Task, playbook: Playbook) -> Recalled:
        """What a session with this task would see of this version if chance withheld nothing."""
        return preview(task, playbook, self._rules)

    async def learn(self, session: Session, background: Background, caller: Caller) -> tuple[Playbook, ...]:
        """New playbook versions after a judged session; empty when nothing changed, or when there is no reward.

        A curator that fails is recorded as `learning_failed`; what the session says about known entries is learnt all
        the same, else only good news would ever be counted.

        Raises:
            StoreError: the failure could not be recorded.
        """
        if not self._rules.updates or session.reward is None or session.reward.value is None:
            return ()
        lessons = await self._lessons(session, caller)
        author = self._curator.name if self._curator else ""
        new = [proposed(lesson, session, author, self._rules) for lesson in lessons]
        changed = (
            self._next(background.student, session, session.student_memory, new),
            self._next(background.teacher, session, session.teacher_memory, new),
        )
        return tuple(playbook for playbook in changed if playbook is not None)

    def harm(self, playbook: Playbook) -> str | None:
        """Why the lessons of this version must be withdrawn together; None while they need not be."""
        return harm(playbook, self._rules)

    def _next(self, playbook: Playbook, session: Session, recalled: Recalled, new: list[Entry]) -> Playbook | None:
        entries = playbook.entries
        value = outcome(session, playbook.audience)
        if value is not None:
            entries = observed(entries, recalled, value, self._rules, session.compared)
            playbook = playbook.model_copy(update={"evidence": self._together(playbook, recalled, value)})
        mine = [entry for entry in new if entry.audience == playbook.audience]
        entries = refuted(entries, mine, recalled)
        entries = merged(entries, mine, self._rules.max_entries)
        return None if entries == playbook.entries else next_version(playbook, entries, f"session {session.id}")

    def _together(self, playbook: Playbook, recalled: Recalled, reward: float) -> Evidence:
        """Sessions that ran with lessons from before the last change say nothing about those of today."""
        return playbook.evidence if recalled.version < playbook.since else together(playbook.evidence, recalled, reward)

    async def _lessons(self, session: Session, caller: Caller) -> tuple[Lesson, ...]:
        if self._curator is None or not self._teaches(session):
            return ()
        try:
            lessons = await self._curator.lessons(session, caller)
        except (ModelError, BudgetError) as error:
            await caller.trace.record(LearningFailed(failure=Failure.of(error)))
            return ()
        prompt = folded(session.task.prompt)
        return tuple(lesson for lesson in lessons if matches(Cue(text=lesson.cue), prompt))

    def _teaches(self, session: Session) -> bool:
        """Whether there is something to be learnt: it failed, or was saved by guidance, and is no replay."""
        if "replay_of" in session.metadata:
            return False
        value = session.reward.value if session.reward else None
        return session.first_try is not True or (value is not None and value < self._rules.learn_below)
