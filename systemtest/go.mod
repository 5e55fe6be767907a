module github.com/docket-orders/docket/systemtest

go 1.26

replace github.com/docket-orders/docket => ../
