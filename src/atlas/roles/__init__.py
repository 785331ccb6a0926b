"""Student and teacher, and the prompts they speak."""

from atlas.roles.scene import Scene
from atlas.roles.student import Student, StudentLimits, StudentPrompts, Try
from atlas.roles.teacher import Teacher, TeacherLimits, TeacherPrompts

__all__ = [
    "Scene",
    "Student",
    "StudentLimits",
    "StudentPrompts",
    "Teacher",
    "TeacherLimits",
    "TeacherPrompts",
    "Try",
]
