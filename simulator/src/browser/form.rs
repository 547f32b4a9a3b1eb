//! Forms: what they hold and what submitting them sends.

use hyper::Method;
use url::Url;

use super::html::{Tag, Token, tokens};

/// A form, as it would be submitted without touching it.
#[derive(Clone, Debug)]
pub struct Form {
    /// `GET` or `POST`.
    pub method: Method,
    /// Where it goes.
    pub action: Url,
    /// Names and values in document order.
    pub fields: Vec<(String, String)>,
    /// Names of text and password fields that a user would fill in.
    pub blanks: Vec<String>,
    /// The buttons that submit it.
    pub buttons: Vec<Button>,
    pub(super) url_encoded: bool,
}

/// A button that submits its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// Its name, if it adds a field.
    pub name: Option<String>,
    /// The value it adds.
    pub value: String,
    /// What the user reads on it.
    pub label: String,
    /// Where it sends the form, if not where the form says.
    pub action: Option<Url>,
}

impl Form {
    /// Where the form goes and the fields it carries, with these values and the button that they press.
    pub(super) fn filled(&self, values: &[(&str, &str)]) -> (Url, Vec<(String, String)>) {
        let presses = |button: &&Button| {
            values.iter().any(|(name, value)| {
                button.name.as_deref() == Some(*name) && button.value == *value
            })
        };
        let pressed = self
            .buttons
            .iter()
            .find(presses)
            .or_else(|| self.buttons.first());
        let mut fields = self.fields.clone();
        fields
            .extend(pressed.and_then(|button| Some((button.name.clone()?, button.value.clone()))));
        for (name, value) in values {
            match fields.iter_mut().find(|(field, _)| field == name) {
                Some((_, current)) => (*value).clone_into(current),
                None => fields.push(((*name).to_owned(), (*value).to_owned())),
            }
        }
        let action = pressed
            .and_then(|button| button.action.as_ref())
            .unwrap_or(&self.action);
        (action.clone(), fields)
    }
}

/// The forms of a document that came from `page`.
pub(super) fn read_forms(page: &Url, document: &str) -> Vec<Form> {
    let mut reader = FormReader {
        page,
        forms: Vec::new(),
        open: false,
        collecting: None,
    };
    for token in tokens(document) {
        reader.read(token);
    }
    reader.forms
}

/// An element whose text is still coming.
enum Collecting {
    Button(Button),
    TextArea {
        name: String,
        text: String,
    },
    Select {
        name: String,
        chosen: Option<String>,
        option: Option<OptionText>,
    },
}

struct OptionText {
    value: Option<String>,
    selected: bool,
    text: String,
}

struct FormReader<'a> {
    page: &'a Url,
    forms: Vec<Form>,
    open: bool,
    collecting: Option<Collecting>,
}

impl FormReader<'_> {
    fn read(&mut self, token: Token) {
        match token {
            Token::Open(tag) if tag.name == "form" => self.begin(&tag),
            Token::Close(name) if name == "form" => {
                self.finish();
                self.open = false;
            }
            Token::Open(tag) if self.open && !tag.has("disabled") => self.control(&tag),
            Token::Close(name) if matches!(name.as_str(), "button" | "textarea" | "select") => {
                self.finish()
            }
            Token::Text(text) => match &mut self.collecting {
                Some(Collecting::Button(button)) => button.label.push_str(&text),
                Some(Collecting::TextArea { text: content, .. }) => content.push_str(&text),
                Some(Collecting::Select {
                    option: Some(option),
                    ..
                }) => option.text.push_str(&text),
                _ => {}
            },
            _ => {}
        }
    }

    fn begin(&mut self, tag: &Tag) {
        let is = |attribute: &str, value: &str| {
            tag.attribute(attribute)
                .is_some_and(|v| v.eq_ignore_ascii_case(value))
        };
        let enctype = tag
            .attribute("enctype")
            .unwrap_or("application/x-www-form-urlencoded");
        let method = if is("method", "post") {
            Method::POST
        } else {
            Method::GET
        };
        self.forms.push(Form {
            url_encoded: method == Method::GET
                || enctype.eq_ignore_ascii_case("application/x-www-form-urlencoded"),
            method,
            action: self
                .target(tag.attribute("action"))
                .unwrap_or_else(|| self.page.clone()),
            fields: Vec::new(),
            blanks: Vec::new(),
            buttons: Vec::new(),
        });
        self.open = true;
    }

    fn target(&self, action: Option<&str>) -> Option<Url> {
        action
            .filter(|action| !action.trim().is_empty())
            .and_then(|action| self.page.join(action.trim()).ok())
    }

    fn control(&mut self, tag: &Tag) {
        let name = tag
            .attribute("name")
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let value = tag.attribute("value").map(str::to_owned);
        let kind = tag
            .attribute("type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let button = |label: String| Button {
            name: name.clone(),
            value: value.clone().unwrap_or_default(),
            label,
            action: self.target(tag.attribute("formaction")),
        };
        match tag.name.as_str() {
            "button" if !matches!(kind.as_str(), "button" | "reset") => {
                self.collecting = Some(Collecting::Button(button(String::new())));
            }
            "input" => match kind.as_str() {
                "submit" => {
                    let button = button(value.clone().unwrap_or_default());
                    self.push_button(button);
                }
                "button" | "reset" | "image" | "file" => {}
                "checkbox" | "radio" => {
                    if tag.has("checked") {
                        self.push_field(name, value.unwrap_or_else(|| "on".to_owned()));
                    }
                }
                _ => {
                    if let (Some(name), true) = (&name, kind != "hidden")
                        && let Some(form) = self.forms.last_mut()
                    {
                        form.blanks.push(name.clone());
                    }
                    self.push_field(name, value.unwrap_or_default());
                }
            },
            "textarea" => {
                self.collecting = name.map(|name| Collecting::TextArea {
                    name,
                    text: String::new(),
                });
            }
            "select" => {
                self.collecting = name.map(|name| Collecting::Select {
                    name,
                    chosen: None,
                    option: None,
                });
            }
            "option" => {
                if let Some(Collecting::Select { chosen, option, .. }) = &mut self.collecting {
                    settle(chosen, option.take());
                    *option = Some(OptionText {
                        value,
                        selected: tag.has("selected"),
                        text: String::new(),
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        match self.collecting.take() {
            Some(Collecting::Button(mut button)) => {
                button.label = button.label.trim().to_owned();
                self.push_button(button);
            }
            Some(Collecting::TextArea { name, text }) => {
                // The newline right after the tag is not part of the content.
                let text = text.strip_prefix('\n').unwrap_or(&text).to_owned();
                self.push_field(Some(name), text);
            }
            Some(Collecting::Select {
                name,
                mut chosen,
                option,
            }) => {
                settle(&mut chosen, option);
                if let Some(chosen) = chosen {
                    self.push_field(Some(name), chosen);
                }
            }
            None => {}
        }
    }

    fn push_field(&mut self, name: Option<String>, value: String) {
        if let (Some(form), Some(name)) = (self.forms.last_mut(), name) {
            form.fields.push((name, value));
        }
    }

    fn push_button(&mut self, button: Button) {
        if let Some(form) = self.forms.last_mut() {
            form.buttons.push(button);
        }
    }
}

/// A select shows its first option unless another is marked.
fn settle(chosen: &mut Option<String>, option: Option<OptionText>) {
    if let Some(OptionText {
        value,
        selected,
        text,
    }) = option
        && (selected || chosen.is_none())
    {
        *chosen = Some(value.unwrap_or_else(|| text.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        let page = Url::parse("http://127.0.0.1:4000/interaction/uid?x=1").expect("a URL");
        read_forms(&page, body).remove(0)
    }

    #[test]
    fn an_action_is_unescaped_and_resolved() {
        let form = form("<form method=POST action='/login?a=1&amp;b=2'></form>");
        assert_eq!(form.action.as_str(), "http://127.0.0.1:4000/login?a=1&b=2");
        assert_eq!(form.method, Method::POST);
    }

    #[test]
    fn a_form_without_an_action_goes_where_the_page_is() {
        assert_eq!(
            form("<form>").action.as_str(),
            "http://127.0.0.1:4000/interaction/uid?x=1"
        );
    }

    #[test]
    fn only_what_a_browser_would_send_is_a_field() {
        let form = form(
            "<input name=outside><form><input type=hidden name=a value='&quot;'><input name=b><input type=checkbox name=c>\
             <input type=checkbox name=d checked><input name=e disabled value=1><select name=f><option>one<option \
             value=2 selected>two</select><textarea name=g>\n&lt;x&gt;</textarea><input type=reset name=h></form>",
        );
        let expected = [
            ("a", "\""),
            ("b", ""),
            ("d", "on"),
            ("f", "2"),
            ("g", "<x>"),
        ];
        let fields: Vec<(&str, &str)> = form
            .fields
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(fields, expected);
        assert_eq!(form.blanks, ["b"]);
    }

    #[test]
    fn the_named_button_is_pressed_else_the_first() {
        let form = form(
            "<form action=/f><button name=do value=yes>Yes</button><button name=do value=no formaction=/no>No</button>\
             <button type=button name=x>Help</button></form>",
        );
        assert_eq!(form.buttons.len(), 2);
        let (action, fields) = form.filled(&[("do", "no")]);
        assert_eq!(
            (action.path(), fields),
            ("/no", vec![("do".to_owned(), "no".to_owned())])
        );
        let (action, fields) = form.filled(&[]);
        assert_eq!(
            (action.path(), fields),
            ("/f", vec![("do".to_owned(), "yes".to_owned())])
        );
    }
}
