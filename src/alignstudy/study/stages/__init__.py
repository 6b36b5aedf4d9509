"""Thin adapters: each reads artefacts, calls one layer, writes one artefact."""
