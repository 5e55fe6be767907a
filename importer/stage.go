package importer

import "github.com/docket-orders/docket/domain/order"

func stageOf(e order.Event) int {
	switch e.(type) {
	case order.Placed:
		return 0
	case order.PaymentCaptured:
		return 2
	case order.Confirmed:
		return 1
	case order.ShipmentDispatched:
		return 3
	case order.ShipmentDelivered:
		return 4
	}
	return 5
}
