"""The data statement as HTML."""

from speech2face.data.statement import statement_html


def test_headings_tables_lists_and_paragraphs_become_html_by_hand() -> None:
    page = statement_html(
        "# Data statement\n\n2 clips.\n\n## Splits\n\n| split | clips |\n|---|---|\n| train | 2 |\n- a: `1`\n"
    )
    assert page.splitlines() == [
        "<p>2 clips.</p>",
        "<h4>Splits</h4>",
        '<table><tr><th scope="col">split</th><th scope="col">clips</th></tr>',
        "<tr><td>train</td><td>2</td></tr>",
        "</table>",
        "<ul>",
        '<li style="margin-left:0rem">a: <code>1</code></li>',
        "</ul>",
    ]


def test_a_label_that_holds_markup_or_a_bar_stays_text() -> None:
    page = statement_html("| what | n |\n|---|---|\n| <script>x</script> a\\|b | 1 |\n")
    assert "<td>&lt;script&gt;x&lt;/script&gt; a|b</td><td>1</td>" in page
