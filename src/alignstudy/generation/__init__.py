"""Prompts and a model in, responses out."""

from alignstudy.generation.hf import generate
from alignstudy.generation.settings import GenerationSettings

__all__ = ["GenerationSettings", "generate"]
