// Package httpapi is docket's HTTP contract: it decodes strictly, authenticates,
// hands over to command, query, audit, projections, readmodel and reconcile, and
// turns what they answer into JSON. It holds no rule about orders.
//
// It promises: every error is application/problem+json with a stable code; what
// is malformed is a 4xx that names the place, never a 5xx and never a panic; a
// command that was accepted is finished although its caller hangs up; whatever
// the route table says is what the mux serves, what parameters are checked
// against, and what /openapi.json documents; the parameters of a question to a
// read model alone are checked by that. It refuses unknown fields, unknown query
// parameters, repeated names, invalid UTF-8 and bodies without a content type.
//
// cmd mounts the handler of New; nothing else calls this package.
//
// Layout: server.go (options, dispatch), routes.go (the table), commands.go,
// adoptions.go, queries.go, readmodels.go, history.go, operations.go, rebuilds.go,
// reconciliations.go (handlers), projection.go and stores.go (what is kept, and
// how it is), decode.go (bodies), params.go (query parameters and headers),
// problem.go (errors), auth.go, middleware.go (trace, log, metrics, recovery),
// openapi.go (the document).
package httpapi
