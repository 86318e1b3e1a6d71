//! Graph to e-graph and back: saturation under budgets, cost, extraction, rule statistics.
#![forbid(unsafe_code)]
