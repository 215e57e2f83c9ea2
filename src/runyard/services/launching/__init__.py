"""
Launching through the tracking protocol: its words for what our own services do.

    queues   →  services.queues      made from drafts, known by id
    pushing  →  services.submitting  a spec of the client's becomes one of ours
    popping  →  services.leasing     one item for the client's own agent, and what it says of it
    agents   →  services.agents      the client's own agents, who hold items as ours do

Nothing here knows a rule of its own about who may do what, or about what becomes of an item.
"""
