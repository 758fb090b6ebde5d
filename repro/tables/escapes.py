"""What each format reads as markup, and how to write plain text so that it shows as itself."""

import json
import re

from repro.tables.values import MINUS

# What Markdown reads as markup inside a line; an underscore within a word is none.
_MARKDOWN = re.compile(
    r"[\\`*|~$]|<(?=[\w/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[:]|(?<=!)\["
)

# What TeX's fonts and inputenc lack, as mathematics.
# fmt: off
_MATHEMATICS = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",  # noqa: RUF001
    "η": r"\eta", "θ": r"\theta", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi",
    "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\varphi", "ω": r"\omega",  # noqa: RUF001
    "Δ": r"\Delta", "Θ": r"\Theta", "Λ": r"\Lambda", "Σ": r"\Sigma", "Ω": r"\Omega",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "≪": r"\ll", "≫": r"\gg",
    "\N{MULTIPLICATION SIGN}": r"\times", "·": r"\cdot", "±": r"\pm", MINUS: "-",
    "‖": r"\|", "∞": r"\infty", "∇": r"\nabla", "∂": r"\partial", "√": r"\surd", "∈": r"\in",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "\N{MICRO SIGN}": r"\mu",
    **{c: f"^{{{digit}}}" for c, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)},
    **{c: f"_{{{digit}}}" for c, digit in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)},
}
# fmt: on

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\N{NO-BREAK SPACE}": "~",
        "\N{NARROW NO-BREAK SPACE}": r"\,",
        **{c: "\\" + c for c in "&%$#_{}"},
        **{c: f"${command}$" for c, command in _MATHEMATICS.items()},
    }
)


def escape_markdown(text: str) -> str:
    """Return a text that GitHub's Markdown shows as it is."""
    return _MARKDOWN.sub(r"\\\g<0>", text)


def escape_latex(text: str) -> str:
    """Return a text that LaTeX shows as it is."""
    # A row must not start with what `\\` would take as its argument, and dashes must not join.
    guard = "{}" if text.startswith(("[", "*")) else ""
    return guard + re.sub("-(?=-)", "-{}", text.translate(_LATEX))


def escape_typst(text: str) -> str:
    """Return a text as a Typst string literal."""
    return json.dumps(text, ensure_ascii=False)  # without control characters, Typst's own escapes
