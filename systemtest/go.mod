module github.com/docket-orders/docket/systemtest

go 1.26.0

replace github.com/docket-orders/docket => ../

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/ncruces/go-sqlite3 v0.35.6
)

require (
	github.com/ncruces/go-sqlite3-wasm/v6 v6.3.35304 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)
