"""Atlas: a continual-learning framework for LLM agents in production."""
