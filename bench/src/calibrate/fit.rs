//! Least squares whose solution has a lower bound.

/// One measurement: amounts by unknown, and what they took together.
#[derive(Clone, Debug, PartialEq)]
pub struct Equation {
    /// How much there is of each.
    pub amounts: Vec<f64>,
    /// What all took.
    pub took: f64,
}

/// Weight of a cost by rule of thumb, beside that of one measurement, in shares of the most that the work can cost: it decides only what measurements leave
/// open.
const PRIOR_WEIGHT: f64 = 0.5;

/// No work is free: what cannot be told from other work by measurements costs at least this share of the rule of thumb.
const LEAST_SHARE: f64 = 0.1;

/// Rounds of coordinate descent; each solves for one unknown at a time, and they converge long before.
const ROUNDS: usize = 5_000;

/// Fits that follow each other, each weighted by the one before.
const PASSES: usize = 6;

/// Costs such that what they predict is as often above as below what was measured, in proportion: the squares of *(predicted − took)² /
/// (predicted · took)* are least. None is free. `prior` are costs by rule of thumb.
pub fn fit(equations: &[Equation], prior: &[f64]) -> Vec<f64> {
    let mut costs = prior.to_vec();
    let mut scales: Vec<f64> = equations.iter().map(|equation| equation.took).collect();
    for _ in 0..PASSES {
        costs = weighted(equations, &scales, prior, costs);
        for (scale, equation) in scales.iter_mut().zip(equations) {
            let predicted: f64 = equation.amounts.iter().zip(&costs).map(|(a, c)| a * c).sum();
            *scale = (equation.took * predicted).sqrt();
        }
    }
    costs
}

/// Least squares of equations, each divided by its scale.
fn weighted(
    equations: &[Equation],
    scales: &[f64],
    prior: &[f64],
    mut costs: Vec<f64>,
) -> Vec<f64> {
    let count = prior.len();
    let mut products = vec![vec![0.0; count]; count];
    let mut right = vec![0.0; count];
    for (equation, scale) in equations.iter().zip(scales).filter(|(_, scale)| **scale > 0.0) {
        let row: Vec<f64> = equation.amounts.iter().map(|a| a / scale).collect();
        for i in 0..count {
            right[i] += row[i] * equation.took / scale;
            for j in 0..count {
                products[i][j] += row[i] * row[j];
            }
        }
    }
    for (i, prior) in prior.iter().enumerate() {
        // Nothing costs more than all of a run that it is a part of: that is the scale of its cost.
        let most = equations.iter().filter(|e| e.amounts[i] > 0.0).map(|e| e.took / e.amounts[i]);
        let most = most.fold(f64::INFINITY, f64::min);
        let weight = if most.is_finite() { (PRIOR_WEIGHT / most).powi(2) } else { 1.0 };
        products[i][i] += weight;
        right[i] += weight * prior.min(most);
    }
    for _ in 0..ROUNDS {
        for i in 0..count {
            let others: f64 =
                (0..count).filter(|j| *j != i).map(|j| products[i][j] * costs[j]).sum();
            let cost = (right[i] - others) / products[i][i];
            costs[i] = cost.max(LEAST_SHARE * prior[i]);
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equation(amounts: &[f64], costs: &[f64]) -> Equation {
        let took = amounts.iter().zip(costs).map(|(a, c)| a * c).sum();
        Equation { amounts: amounts.to_vec(), took }
    }

    #[test]
    fn costs_come_back_and_what_was_not_measured_stays() {
        let costs = [10.0, 0.5, 3.0, 7.0];
        let rows = [
            [1.0, 0.0, 0.0, 0.0],
            [1.0, 100.0, 0.0, 0.0],
            [1.0, 100.0, 9.0, 0.0],
            [1.0, 5.0, 2.0, 0.0],
        ];
        let equations: Vec<_> = rows.iter().map(|row| equation(row, &costs)).collect();
        let fitted = fit(&equations, &[9.5, 0.52, 2.8, 7.0]);
        for (fitted, cost) in fitted.iter().zip(costs) {
            assert!((fitted / cost - 1.0).abs() < 0.05, "{fitted} for {cost}");
        }
    }

    #[test]
    fn no_cost_is_negative_or_nothing() {
        // The second makes it faster.
        let equations = [
            Equation { amounts: vec![1.0, 0.0], took: 10.0 },
            Equation { amounts: vec![1.0, 1.0], took: 8.0 },
        ];
        let fitted = fit(&equations, &[10.0, 1.0]);
        assert!(fitted[1] < 0.5, "{fitted:?}");
        assert!(fitted.iter().all(|cost| *cost > 0.0));
        assert!((8.0..=10.0).contains(&fitted[0]), "{fitted:?}");
    }
}
