package order

import "github.com/docket-orders/docket/domain"

// The rules, one refusal each. Codes are part of the API and never change.
var (
	// The command itself is wrong.
	ErrTime           = domain.Reject(domain.Invalid, "at-invalid", "the business time is missing or not between the years 1 and 9999")
	ErrBeforePlaced   = domain.Reject(domain.Invalid, "before-placed", "the business time is before the order was placed")
	ErrText           = domain.Reject(domain.Invalid, "text-invalid", "text must be valid UTF-8 without control characters and without characters that hide or turn what is seen")
	ErrTextLong       = domain.Reject(domain.Invalid, "text-too-long", "text is too long")
	ErrCode           = domain.Reject(domain.Invalid, "code-invalid", "a SKU or a key of metadata is 1 to 64 ASCII characters, without spaces around it")
	ErrTextMissing    = domain.Reject(domain.Invalid, "text-missing", "text must not be empty")
	ErrID             = domain.Reject(domain.Invalid, "id-invalid", "an id is 1 to 64 letters, digits and . _ ~ - and begins with a letter or digit")
	ErrIDMissing      = domain.Reject(domain.Invalid, "id-missing", "the id of the new thing is missing")
	ErrNumber         = domain.Reject(domain.Invalid, "number-invalid", "an order number is 1 to 64 letters, digits, spaces and . _ ~ - * $ = / # and begins with a letter or digit")
	ErrEmail          = domain.Reject(domain.Invalid, "email-invalid", "not an email address")
	ErrCountry        = domain.Reject(domain.Invalid, "country-invalid", "a country is a two-letter code of ISO 3166-1, in upper case")
	ErrCurrency       = domain.Reject(domain.Invalid, "currency-unknown", "a currency is a three-letter code of ISO 4217, in upper case")
	ErrOtherCurrency  = domain.Reject(domain.Invalid, "currency-differs", "every amount must be in the currency of the order")
	ErrNoLines        = domain.Reject(domain.Invalid, "lines-missing", "at least one line is needed")
	ErrTooManyLines   = domain.Reject(domain.Invalid, "too-many-lines", "an order has at most 2000 lines")
	ErrLineRepeated   = domain.Reject(domain.Invalid, "line-repeated", "a line is named twice")
	ErrQuantity       = domain.Reject(domain.Invalid, "quantity-invalid", "a quantity is a whole number from 1 to 1000000")
	ErrPriceNegative  = domain.Reject(domain.Invalid, "price-negative", "a price must not be negative")
	ErrAmountNegative = domain.Reject(domain.Invalid, "amount-negative", "the amount must not be negative")
	ErrAmountZero     = domain.Reject(domain.Invalid, "amount-not-positive", "the amount must be more than nothing")
	ErrDecimals       = domain.Reject(domain.Invalid, "amount-decimals", "the amount has more decimals than the currency")
	ErrAmountLarge    = domain.Reject(domain.Invalid, "amount-too-large", "amounts and their sums stay within 10^12 minor units")
	ErrDiscount       = domain.Reject(domain.Invalid, "discount-above-items", "the discount is more than the lines are worth")
	ErrTooManyTags    = domain.Reject(domain.Invalid, "too-many-tags", "an order has at most 100 tags")
	ErrTooMuchMeta    = domain.Reject(domain.Invalid, "too-much-metadata", "metadata has at most 100 keys")
	ErrChangesMissing = domain.Reject(domain.Invalid, "changes-missing", "at least one change is needed")
	ErrChange         = domain.Reject(domain.Invalid, "change-invalid", "a change is add (line), remove (lineId), reprice (lineId, unitPrice) or quantity (lineId, quantity), with exactly these fields")

	// It names something that is not there.
	ErrUnknown         = domain.Reject(domain.NotFound, "unknown-order", "there is no such order")
	ErrUnknownLine     = domain.Reject(domain.NotFound, "unknown-line", "the order has no such line")
	ErrUnknownEdit     = domain.Reject(domain.NotFound, "unknown-edit", "the order has no such edit")
	ErrUnknownHold     = domain.Reject(domain.NotFound, "unknown-hold", "the order has no such hold")
	ErrUnknownPayment  = domain.Reject(domain.NotFound, "unknown-payment", "the order has no such payment")
	ErrUnknownShipment = domain.Reject(domain.NotFound, "unknown-shipment", "the order has no such shipment")
	ErrUnknownReturn   = domain.Reject(domain.NotFound, "unknown-return", "the order has no such return")
	ErrUnknownRefund   = domain.Reject(domain.NotFound, "unknown-refund", "the order has no such refund")

	// The state of the order does not allow it.
	ErrExists          = domain.Reject(domain.Conflict, "order-exists", "there is an order with this id")
	ErrIDInUse         = domain.Reject(domain.Conflict, "id-in-use", "the id is taken by something else")
	ErrTooMany         = domain.Reject(domain.Conflict, "too-many", "an order has at most 1000 of each of these")
	ErrNotAnOrder      = domain.Reject(domain.Conflict, "not-an-order", "a credit note or an adjustment takes only tags, metadata and notes")
	ErrCancelled       = domain.Reject(domain.Conflict, "order-cancelled", "the order is cancelled")
	ErrNotConfirmed    = domain.Reject(domain.Conflict, "not-confirmed", "the order is not confirmed")
	ErrHeld            = domain.Reject(domain.Conflict, "order-held", "the order is held")
	ErrDeparted        = domain.Reject(domain.Conflict, "departed", "units of the order have left the warehouse")
	ErrNothingToShip   = domain.Reject(domain.Conflict, "nothing-to-ship", "every unit has left")
	ErrNotEnough       = domain.Reject(domain.Conflict, "not-enough-units", "there are fewer units than that")
	ErrLastUnits       = domain.Reject(domain.Conflict, "last-units", "no unit would be left: cancel the order")
	ErrBelowShipped    = domain.Reject(domain.Conflict, "below-shipped", "units that have left cannot be taken off the order")
	ErrEditSettled     = domain.Reject(domain.Conflict, "edit-settled", "the edit was decided the other way")
	ErrEditStale       = domain.Reject(domain.Conflict, "edit-stale", "the edit no longer fits the order")
	ErrPaymentSettled  = domain.Reject(domain.Conflict, "payment-settled", "the payment has nothing left to capture")
	ErrAboveAuthorised = domain.Reject(domain.Conflict, "above-authorised", "more than is left of the authorised amount")
	ErrNothingToRefund = domain.Reject(domain.Conflict, "nothing-to-refund", "the payment has nothing left to refund")
	ErrAboveCaptured   = domain.Reject(domain.Conflict, "above-captured", "more than was captured and not given back")
	ErrRefundSettled   = domain.Reject(domain.Conflict, "refund-settled", "the refund ended the other way")
	ErrNothingToReturn = domain.Reject(domain.Conflict, "nothing-to-return", "no delivered unit is left to return")
	ErrReturnSettled   = domain.Reject(domain.Conflict, "return-settled", "the return has ended, or asks for nothing")
	ErrAdopting        = domain.Reject(domain.Conflict, "adoption-open", "the order's history is still being adopted")

	// The history to adopt is none.
	ErrAdoptionEmpty    = domain.Reject(domain.Invalid, "adoption-empty", "a part of a history needs steps, unless it is the last")
	ErrAdoptionNumber   = domain.Reject(domain.Invalid, "adoption-number", "a part is numbered by its first step, from 0")
	ErrAdoptionStart    = domain.Reject(domain.Invalid, "adoption-start", "a history begins with the placing of the order, and has no other")
	ErrAdoptionStep     = domain.Reject(domain.Invalid, "adoption-step", "not an event of an order's history")
	ErrAdoptionKind     = domain.Reject(domain.Invalid, "adoption-kind", "a document is an order, a creditNote or an adjustment")
	ErrAdoptionSource   = domain.Reject(domain.Invalid, "adoption-source", "an adopted order names the system it comes from and its id there")
	ErrAdoptionUnits    = domain.Reject(domain.Invalid, "adoption-units", "a quantity is beyond 2147483647")
	ErrAdoptionGap      = domain.Reject(domain.Conflict, "adoption-gap", "steps before this part are missing")
	ErrAdoptionOrder    = domain.Reject(domain.Conflict, "adoption-disorder", "a step is earlier than one that was adopted before it")
	ErrAdoptionComplete = domain.Reject(domain.Conflict, "adoption-complete", "the order's history was adopted to its end")
)

// Rules lists every refusal of this package, in the order of their declaration.
func Rules() []*domain.Rejection {
	return []*domain.Rejection{
		ErrTime, ErrBeforePlaced, ErrText, ErrTextLong, ErrCode, ErrTextMissing, ErrID, ErrIDMissing, ErrNumber,
		ErrEmail, ErrCountry, ErrCurrency, ErrOtherCurrency, ErrNoLines, ErrTooManyLines, ErrLineRepeated,
		ErrQuantity, ErrPriceNegative, ErrAmountNegative, ErrAmountZero, ErrDecimals, ErrAmountLarge,
		ErrDiscount, ErrTooManyTags, ErrTooMuchMeta, ErrChangesMissing, ErrChange, ErrUnknown,
		ErrUnknownLine, ErrUnknownEdit, ErrUnknownHold, ErrUnknownPayment, ErrUnknownShipment,
		ErrUnknownReturn, ErrUnknownRefund, ErrExists, ErrIDInUse, ErrTooMany, ErrNotAnOrder, ErrCancelled,
		ErrNotConfirmed, ErrHeld, ErrDeparted, ErrNothingToShip, ErrNotEnough, ErrLastUnits,
		ErrBelowShipped, ErrEditSettled, ErrEditStale, ErrPaymentSettled, ErrAboveAuthorised,
		ErrNothingToRefund, ErrAboveCaptured, ErrRefundSettled, ErrNothingToReturn, ErrReturnSettled,
		ErrAdopting, ErrAdoptionEmpty, ErrAdoptionNumber, ErrAdoptionStart, ErrAdoptionStep,
		ErrAdoptionKind, ErrAdoptionSource, ErrAdoptionUnits, ErrAdoptionGap, ErrAdoptionOrder,
		ErrAdoptionComplete,
	}
}
