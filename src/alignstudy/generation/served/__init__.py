"""Responses by a server of OpenAI's completions API."""
