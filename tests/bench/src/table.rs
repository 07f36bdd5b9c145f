//! Tables of samples: smallest, median, 99th percentile, largest.

/// A table in the making.
pub(crate) struct Table {
    title: String,
    rows: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(title: &str) -> Self {
        let title = title.to_owned();
        Self { title, rows: Vec::new() }
    }

    /// A row of samples in milliseconds.
    pub(crate) fn samples(&mut self, name: &str, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = samples.len().saturating_sub(1);
            // Nearest rank: with few samples p99 is the largest, and says so by being equal to it.
            let rank = (share * samples.len() as f64).ceil() as usize;
            samples.get(rank.saturating_sub(1).min(last)).copied().unwrap_or(f64::NAN)
        };
        let text = format!(
            "min {:8.1}  p50 {:8.1}  p99 {:8.1}  max {:8.1}  n {}",
            at(0.0),
            at(0.5),
            at(0.99),
            at(1.0),
            samples.len()
        );
        self.row(name, &text);
    }

    /// A row of its own making.
    pub(crate) fn row(&mut self, name: &str, value: &str) {
        self.rows.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn print(&self) {
        let width = self.rows.iter().map(|(n, _)| n.chars().count()).max().unwrap_or(0);
        println!("\n{}", self.title);
        for (name, value) in &self.rows {
            println!("  {name:width$}  {value}");
        }
    }
}
