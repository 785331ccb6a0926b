"""What is known of the libraries that agents are written with."""

from __future__ import annotations

LIBRARIES: dict[str, tuple[str, ...]] = {
    "agents": ("OPENAI_API_KEY",),
    "agno": (),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "autogen": (),
    "autogen_agentchat": (),
    "claude_agent_sdk": ("ANTHROPIC_API_KEY",),
    "crewai": (),
    "dspy": (),
    "google.adk": (),
    "google.genai": ("GEMINI_API_KEY",),
    "google.generativeai": ("GEMINI_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "gym": (),
    "gymnasium": (),
    "haystack": (),
    "instructor": (),
    "langchain": (),
    "langchain_anthropic": ("ANTHROPIC_API_KEY",),
    "langchain_core": (),
    "langchain_google_genai": ("GOOGLE_API_KEY",),
    "langchain_groq": ("GROQ_API_KEY",),
    "langchain_openai": ("OPENAI_API_KEY",),
    "langgraph": (),
    "litellm": (),
    "llama_index": (),
    "mcp": (),
    "mistralai": ("MISTRAL_API_KEY",),
    "ollama": (),
    "openai": ("OPENAI_API_KEY",),
    "pydantic_ai": (),
    "semantic_kernel": (),
    "smolagents": (),
    "strands": (),
    "transformers": (),
    "vllm": (),
}
"""Module of a library, and the keys that it reads from the environment by itself."""

MAKERS: dict[str, str] = {
    "agents.Agent": "agents",
    "agents.agent.Agent": "agents",
    "claude_agent_sdk.ClaudeAgentOptions": "claude_agent_sdk",
    "crewai.Crew": "crewai",
    "deepagents.create_deep_agent": "langgraph",
    "langchain.agents.AgentExecutor": "langchain",
    "langchain.agents.create_agent": "langchain",
    "langchain.agents.initialize_agent": "langchain",
    "langchain_classic.agents.AgentExecutor": "langchain",
    "langgraph.prebuilt.create_react_agent": "langgraph",
    "langgraph.prebuilt.chat_agent_executor.create_react_agent": "langgraph",
    "langgraph_supervisor.create_supervisor": "langgraph",
    "pydantic_ai.Agent": "pydantic_ai",
    "pydantic_ai.agent.Agent": "pydantic_ai",
    "smolagents.CodeAgent": "smolagents",
    "smolagents.ToolCallingAgent": "smolagents",
}
"""Calls whose result is an agent that Atlas has an adapter for, and the library."""

GRAPHS = frozenset(
    {
        "langgraph.graph.StateGraph",
        "langgraph.graph.MessageGraph",
        "langgraph.graph.state.StateGraph",
        "langgraph_supervisor.create_supervisor",
    }
)
"""Calls whose result is an agent once it is compiled."""

MARKS = {
    "atlas.agent": "agent",
    "atlas.environment": "environment",
}
"""Decorators of our own, and the role they give."""

TOOL_MARKS = ("tool", "tool_plain", "function_tool", "kernel_function")
"""Last parts of the decorators that mark a tool."""

RUNS = frozenset(
    {
        "run", "run_sync", "run_stream", "run_streamed", "iter", "invoke", "ainvoke", "stream", "astream", "kickoff",
        "kickoff_async", "to_cli", "query",
    }
)  # fmt: skip
"""Methods by which an agent is used."""

ANSWERS = ("run", "invoke", "chat", "ask", "answer", "respond", "solve", "query", "execute", "generate", "step")
"""Methods of a class that answer a prompt, likeliest first, beside `act` and `__call__`."""

CALLS = (
    "chat.completions.create",
    "chat.completions.parse",
    "chat.completions.stream",
    "responses.create",
    "responses.parse",
    "messages.create",
    "messages.stream",
    "models.generate_content",
    "litellm.completion",
    "litellm.acompletion",
    "ollama.chat",
    "ollama.generate",
)
"""Ends of the dotted names of calls to a model."""

PROMPT_NAMES = frozenset(
    {
        "prompt", "question", "query", "task", "message", "text", "input", "inputs", "user_input", "user_message",
        "user_prompt", "user_query", "request", "instruction", "msg", "q", "input_text", "topic", "goal", "problem",
    }
)  # fmt: skip
"""Names of a parameter that holds a prompt."""

AGENT_WORDS = ("agent", "assistant", "bot", "chatbot", "copilot", "solver")
"""Words in the name of an agent."""

FOREIGN = {
    "package.json": "JavaScript or TypeScript",
    "go.mod": "Go",
    "Cargo.toml": "Rust",
    "pom.xml": "Java",
    "build.gradle": "Java",
    "Gemfile": "Ruby",
}
"""Files that tell a project in another language."""
