//! One model of cluster state; its text, crm_mon and JSON forms
