// Package testservers starts the real servers that tests need, on loopback, in
// temporary folders, and ends them by their own process id.
//
// Shared servers (Redis, RedisCluster, Elasticsearch) are started by the first
// test process that asks, joined by the others under a lock file in the user's
// cache folder, and ended by the last; each test takes a namespace of its own
// there (Namespace). A process is a user until it ends, however it ends: its
// share is a lock that the kernel gives back. `flock -s` on the file users of a
// server's folder makes a shell a user too, so that it outlives several runs.
//
// Own servers (StartRedis, StartElasticsearch and so on) belong to one test,
// which may kill, pause, flush and restart them. They die with its process.
//
// DOCKET_TEST_ELASTICSEARCH (addresses of the nodes of one cluster with commas
// between them) and DOCKET_TEST_REDIS (host:port, and redis+cluster://host:port,...
// with a space between them) name servers that take the place of shared ones.
// DOCKET_TEST_ELASTICSEARCH_OPTIONS are settings of the shared one (see
// StartElasticsearch).
//
// Programs and libraries that are missing are installed by install.sh, which the
// first process that misses one runs.
//
// Layout: tb.go (who asks), shared.go and watch.sh (sharing), process.go (one
// server of one test), redis.go, redis_secure.go (TLS, users, a sentinel) and
// resp.go (asking it), elasticsearch.go with the launcher in elasticsearch/,
// proxy.go and authority.go (TLS and users before it), namespace.go, need.go
// (installing).
package testservers
