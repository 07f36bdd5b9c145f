//! The operator's log: files of rules and settings as sites write them, and lines of logs that anybody can write to.

use logconv::{Condition, Converter, Date, Level, Rules, Settings, State};

/// What stands before a line of dashes is a file of rules and settings, the rest are lines. Where there are no such rules ours are used.
/// A converter that is restarted at each line says the same, and what it says is one line each.
pub fn logconv(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, lines) = text.split_once("\n---\n").unwrap_or(("", &text));
    let rules = match Rules::parse(file) {
        Ok(rules) if !rules.is_empty() => rules,
        Ok(_) => Rules::standard(),
        Err(errors) => {
            assert!(errors.iter().all(|e| e.line > 0 && !e.what.is_empty()));
            Rules::standard()
        }
    };
    let settings = Settings::parse(file).unwrap_or_else(|errors| {
        assert!(errors.iter().all(|e| e.line > 0 && !e.what.is_empty()));
        Settings::default()
    });
    let _ = Condition::parse(lines);
    let today = Date { year: 2026, month: 11, day: 23 };
    let mut one = Converter::new(settings.clone(), rules.clone(), "here");
    let mut state = State::default();
    for line in lines.lines().take(LINES_MAX) {
        let said = one.line(line, today);
        let mut other = Converter::new(settings.clone(), rules.clone(), "here");
        other.resume(state);
        assert_eq!(said, other.line(line, today), "restarted, it says the same");
        state = other.state().clone();
        for line in &said {
            assert!(matches!(line.level, Level::Error | Level::Warning | Level::Info));
            assert_eq!(line.to_string().lines().count(), 1, "{line}");
        }
    }
    assert_eq!(&state, one.state());
}

/// Rules are tried on each: more lines reach nothing new.
const LINES_MAX: usize = 256;
