module github.com/docket-orders/docket/systemtest

go 1.26

require github.com/docket-orders/docket v0.0.0

replace github.com/docket-orders/docket => ../
