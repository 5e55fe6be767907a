package main

import "github.com/docket-orders/docket/readmodel"

// readModels are the projections of your own that this docket keeps beside the
// orders, in the same stores: write one as a readmodel.View in a package, and name
// it here:
//
//	return []readmodel.Model{waiting.View}
//
// It is made from the whole log when docket starts, is asked at
// /v1/read-models/NAME and by docket read-models, and is rebuilt, compared and
// switched like the orders, by its name: docket projections rebuild NAME. Of one
// that is taken out the stores keep what they have.
func readModels() []readmodel.Model { return nil }
