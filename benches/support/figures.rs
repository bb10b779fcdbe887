//! Figures of several rounds: what is shown of them.

/// The figure in the middle.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Median, lowest and highest, for a table.
pub fn cell(figures: Option<&Vec<f64>>) -> String {
    let figures = figures.map_or(&[][..], Vec::as_slice);
    let Some(middle) = median(figures) else { return "–".to_owned() };
    let (lowest, highest) = figures
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), figure| (low.min(*figure), high.max(*figure)));
    let places = usize::from(middle < 100.0);
    format!("{middle:.places$} ({lowest:.places$}–{highest:.places$})")
}
