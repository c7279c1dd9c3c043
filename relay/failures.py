"""Why an ask got no answer: one exception for each reason."""


class NoAgents(Exception):
    """No agent is connected."""


class WaitOver(Exception):
    """The ask waited for an agent as long as it may."""


class NobodyElse(Exception):
    """Of all the agents that the ask waited for none is here any more, only such as it avoids."""


class ConversationAgentGone(Exception):
    """The conversation's agent is not connected and did not come back in time."""


class KeyEnded(Exception):
    """The key that this was asked with has ended meanwhile."""


class Draining(Exception):
    """The server is going down and takes no new asks."""


class OutOfReach(Exception):
    """The agent is with another process, if with any, and the other processes cannot be reached just now."""


class Lost(Exception):
    """An agent failed the ask in a way that another agent may mend. The text is for the asker."""


class AgentGone(Lost):
    """The agent's connection ended, or could not be written to."""


class AgentRubbish(Lost):
    """The agent sent something that is no answer."""


class AgentSilent(Lost):
    """The agent sent nothing for the ask in its time."""


class AgentBusy(Lost, WaitOver):
    """The agent is with another process, where the ask waited as long as it may, or found too many others."""


class AgentError(Exception):
    """The agent reports an error. The text is the agent's own."""
