"""
The tracking client's protocol: GraphQL documents, answered by the services that REST uses.

    request ──▶ route ──▶ documents (parsed and checked once) ──▶ prepare ──▶ one transaction
                                                                     │            │
                                               what the stores must do before, or after it

Each area has a file of the schema in `schema/` and a module with its resolvers. Resolvers are
synchronous, and all those of a request run in one transaction: a query reads one consistent view,
a mutation is committed as a whole or not at all.
"""
