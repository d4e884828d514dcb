"""Leakage Impact Score: is this preference data worth aligning a multimodal LLM with it?"""

__version__ = "0.1.0"
