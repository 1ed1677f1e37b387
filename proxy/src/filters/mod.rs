//! Allow and change requests, in one fixed order.
