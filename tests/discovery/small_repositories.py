"""Some forty small repositories: what is in them, and what discovery should make of them."""

# ruff: noqa: E501 - sources on one line each

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Repository:
    """Files by their path, and what is to be found."""

    files: dict[str, str]
    agent: str | None = None
    environment: str | None = None
    runs: str | None = None
    """What `agent` answers to `hi` once it is configured; None where a package that it needs is not expected."""
    keys: tuple[str, ...] = ()
    frameworks: tuple[str, ...] = field(default=())


OPENAI = "from openai import OpenAI\nclient = OpenAI()\n"
CALL = "client.chat.completions.create(model='gpt-4o-mini', messages=[])"

REPOSITORIES: dict[str, Repository] = {
    # our own marks
    "marked function": Repository(
        {"a/b.py": "import atlas\n@atlas.agent\ndef whatever(x):\n    return 'marked ' + x\n", "agent.py": "def agent(prompt):\n    return 'no'\n"},
        "a/b.py:whatever", runs="marked hi",
    ),
    "marked under another name": Repository(
        {"m.py": "from atlas import agent as student\n@student\nasync def go(x):\n    return x * 2\n"}, "m.py:go", runs="hihi"
    ),
    "marked class": Repository(
        {"m.py": "import atlas\n@atlas.agent\nclass Thing:\n    def ask(self, q): return q + '?'\n"}, "m.py:Thing", runs="hi?"
    ),
    "marked world": Repository(
        {"w.py": "import atlas\n@atlas.environment\ndef world(n=3):\n    return None\n"}, None, "w.py:world"
    ),
    "another's mark": Repository({"m.py": "from flask import agent\n@agent\ndef f(x):\n    return x\n"}),
    # plain functions
    "function named agent": Repository({"agent.py": "def agent(prompt):\n    return prompt.upper()\n"}, "agent.py:agent", runs="HI"),
    "async generator": Repository(
        {"bot.py": "async def chatbot(message: str):\n    yield message\n    yield '!'\n"}, "bot.py:chatbot", runs="hi!"
    ),
    "function that calls a model": Repository(
        {"llm.py": OPENAI + f"def reply(question: str) -> str:\n    return {CALL}\n"}, "llm.py:reply",
        keys=("OPENAI_API_KEY",), frameworks=("openai",),
    ),
    "client made on the spot": Repository(
        {"llm.py": "import openai\ndef reply(question):\n    return openai.OpenAI().responses.create(model='gpt-5')\n"}, "llm.py:reply"
    ),
    "anthropic": Repository(
        {"c.py": "import anthropic\nc = anthropic.Anthropic()\ndef think(text: str) -> str:\n    return c.messages.create()\n"},
        "c.py:think", keys=("ANTHROPIC_API_KEY",), frameworks=("anthropic",),
    ),
    "src layout": Repository(
        {"src/shop/__init__.py": "", "src/shop/words.py": "HELLO = 'hello '\n",
         "src/shop/agent.py": "from shop.words import HELLO\ndef agent(prompt):\n    return HELLO + prompt\n"},
        "src/shop/agent.py:agent", runs="hello hi",
    ),
    "package with relative imports": Repository(
        {"shop/__init__.py": "", "shop/words.py": "HELLO = 'hello '\n",
         "shop/agent.py": "from .words import HELLO\ndef agent(prompt):\n    return HELLO + prompt\n"},
        "shop/agent.py:agent", runs="hello hi",
    ),
    "a script's folder": Repository(
        {"app/util.py": "def low(x):\n    return x.lower()\n", "app/agent.py": "from util import low\ndef agent(prompt):\n    return low(prompt)\n"},
        "app/agent.py:agent", runs="hi",
    ),
    "a name that is no identifier": Repository(
        {"my-agent.py": "def agent(prompt):\n    return 'dash ' + prompt\n"}, "my-agent.py:agent", runs="dash hi"
    ),
    "inside an if": Repository(
        {"agent.py": "try:\n    import x_y_z\nexcept ImportError:\n    x_y_z = None\nif True:\n    def agent(prompt):\n        return 'if'\n"},
        "agent.py:agent", runs="if",
    ),
    # classes
    "class with act": Repository(
        {"my_bot.py": "class Bot:\n    def act(self, prompt):\n        return 'acted'\n"}, "my_bot.py:Bot", runs="acted"
    ),
    "callable class": Repository(
        {"my_bot.py": "class Bot:\n    def __call__(self, prompt):\n        return 'called'\n"}, "my_bot.py:Bot", runs="called"
    ),
    "class with run": Repository(
        {"core.py": "class SupportAgent:\n    def __init__(self, tone='kind'):\n        self.tone = tone\n"
                    "    async def run(self, query: str) -> str:\n        return self.tone\n"},
        "core.py:SupportAgent", runs="kind",
    ),
    "class that needs something": Repository(
        {"core.py": "class SupportAgent:\n    def __init__(self, db):\n        self.db = db\n    def run(self, query):\n        return 'x'\n"}
    ),
    "protocol": Repository({"base.py": "from typing import Protocol\nclass Agent(Protocol):\n    def run(self, prompt): ...\n"}),
    # frameworks
    "pydantic-ai": Repository(
        {"main.py": "from pydantic_ai import Agent\nhelper = Agent('openai:gpt-4o', system_prompt='You are a kind helper of ours.')\n"},
        "main.py:helper", frameworks=("pydantic_ai",),
    ),
    "pydantic-ai with deps": Repository(
        {"main.py": "from pydantic_ai import Agent\nhelper = Agent[int, str]('openai:gpt-4o')\n"}, "main.py:helper"
    ),
    "openai agents": Repository(
        {"flow.py": "from agents import Agent, Runner\nspanish = Agent(name='S')\ntriage = Agent(name='T', handoffs=[spanish])\n"
                    "def go():\n    Runner.run_sync(triage, 'x')\n"},
        "flow.py:triage", frameworks=("agents",), keys=("OPENAI_API_KEY",),
    ),
    "an agent below another": Repository(
        {"a.py": "from pydantic_ai import Agent\nchief = Agent('openai:gpt-4o')\nhelper = Agent('openai:gpt-4o')\n"
                 "@chief.tool_plain\nasync def ask(q: str) -> str:\n    return (await helper.run(q)).output\n"},
        "a.py:chief",
    ),
    "a graph made by a function of the file": Repository(
        {"g.py": "from langgraph.graph import StateGraph\ndef build():\n    g = StateGraph(dict)\n    return g.compile()\ngraph = build()\n"},
        "g.py:graph",
    ),
    "own module called agents": Repository(
        {"agents.py": "class Agent:\n    pass\n", "x.py": "from agents import Agent\na = Agent()\n"}
    ),
    "langgraph": Repository(
        {"graph.py": "from langgraph.graph import StateGraph\nbuilder = StateGraph(dict)\nbuilder.add_node('a', print)\napp = builder.compile()\n"},
        "graph.py:app", frameworks=("langgraph",),
    ),
    "langgraph in a factory": Repository(
        {"graph.py": "from langgraph.graph import StateGraph\ndef build():\n    g = StateGraph(dict)\n    return g.compile()\n"}, "graph.py:build"
    ),
    "langchain": Repository(
        {"a.py": "from langchain.agents import create_agent\ndef make_agent(model='openai:gpt-4o'):\n    agent = create_agent(model)\n    return agent\n"},
        "a.py:make_agent", frameworks=("langchain",),
    ),
    "crewai": Repository(
        {"crew.py": "from crewai import Crew\nteam = Crew(agents=[], tasks=[])\n"}, "crew.py:team", frameworks=("crewai",)
    ),
    "crewai project": Repository(
        {"src/team/__init__.py": "", "src/team/crew.py": "from crewai import Crew\nfrom crewai.project import CrewBase, crew\n@CrewBase\nclass Team:\n    @crew\n"
                                                         "    def crew(self):\n        return Crew()\n"},
        "src/team/crew.py:Team",
    ),
    "smolagents": Repository(
        {"s.py": "from smolagents import CodeAgent\nagent = CodeAgent(tools=[], model=None)\nagent.run('x')\n"}, "s.py:agent", frameworks=("smolagents",)
    ),
    "claude agent sdk": Repository(
        {"c.py": "from claude_agent_sdk import ClaudeAgentOptions, query\noptions = ClaudeAgentOptions()\n"}, "c.py:options",
        frameworks=("claude_agent_sdk",),
    ),
    # worlds
    "a world": Repository(
        {"world.py": "class Door:\n    def reset(self):\n        return 'shut'\n    def step(self, action):\n        return 'open', 1.0, True, {}\n"},
        None, "world.py:Door",
    ),
    "gymnasium": Repository(
        {"w.py": "import gymnasium as gym\nclass Grid(gym.Env):\n    def reset(self, *, seed=None): ...\n    def step(self, action): ...\n"}, None, "w.py:Grid"
    ),
    "a world and its agent": Repository(
        {"world.py": "class Door:\n    def reset(self):\n        return 'shut'\n    def step(self, action):\n        return 'open', 1.0, True, {}\n",
         "agent.py": "def agent(prompt):\n    return 'push'\n"},
        "agent.py:agent", "world.py:Door", runs="push",
    ),
    # programs and others
    "a program": Repository(
        {"cli.py": OPENAI.replace("client = OpenAI()", "client = None")
         + f"def main():\n    print({CALL} if client else 'prog ' + input())\nif __name__ == '__main__':\n    main()\n"},
        "cli.py", frameworks=("openai",),
    ),
    "tests do not count": Repository({"tests/test_agent.py": "def agent(prompt):\n    return prompt\n"}),
    "tools do not count": Repository(
        {"t.py": "from langchain_core.tools import tool\n@tool\ndef search_agent(query: str) -> str:\n    return query\n"}
    ),
    "another language": Repository({"package.json": "{}", "index.js": "console.log(1)\n"}),
    "nothing": Repository({"README.md": "# nothing\n"}),
    "broken files": Repository(
        {"bad.py": "def (:\n", "deep.py": "x = " + "-" * 200_000 + "1\n", "nul.py": "a\0b\n", "big.py": "#" * 1_100_000,
         "latin.py": "# -*- coding: nonsense -*-\n", "agent.py": "def agent(prompt):\n    return 'ok'\n"},
        "agent.py:agent", runs="ok",
    ),
}  # fmt: skip
