//! Accept connections, find where they were going and what they speak.
