package redis

import goredis "github.com/redis/go-redis/v9"

// AddHook lets a test stand between the Backend and the server.
func (b *Backend) AddHook(h goredis.Hook) { b.server.client.AddHook(h) }

// PutSHA names the script that writes a bucket of orders.
func (b *Backend) PutSHA() string { return b.scripts.put.sha }
