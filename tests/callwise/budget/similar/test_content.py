"""Content of a text: what two texts must agree in, and what they may differ in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.similar.content import content_of, lexical_similarity

SAME = [
    ("How do I reset my password?", "how can I reset my password, please?"),
    ("Could you tell me what time it is?", "What time is it?".replace("time is it", "time it is")),
    ("It's 5 km away from here.", "It is five kilometres away from here"),
    ("Please send me an e-mail.", "send me an email"),
    ("He can't come on 3 May.", "He cannot come on 3 May"),
    ("The bill is 1,200 dollars.", "The bill is 1200 dollars"),
    ("请问怎么重置密码？", "如何重置口令"),
    ("你知道北京的人口是多少吗？", "北京的人口是多少？"),
    ("我什么时候能拿到手机", "我何时能拿到移动电话"),
    ("I CANNOT FIND MY KEYS", "I cannot find my keys"),
    ("How long do eggs keep?", "Hi! I was wondering how long eggs keep. Thanks"),
    ("Translate this letter.", "Would you please translate this letter?"),
    ("Nobody called on Monday.", "No one called on monday"),
    ("帮我写一段祝酒词", "请帮我写一段祝酒词，谢谢"),
    ("你在干什么呢", "你在干什么"),
    ("这件衣服好看嘛？", "这件衣服好看吗？"),
]
DIFFERENT = [
    ("Is it safe to eat this?", "Is it not safe to eat this?"),
    ("Tom lent Mary three books.", "Mary lent Tom three books."),
    ("Wake me at 7:30 tomorrow.", "Wake me at 7:20 tomorrow."),
    ("It is 5 km away from here.", "It is 5 miles away from here."),
    ("I have a few friends here.", "I have few friends here."),
    ("Can you help us now?", "Can you help US now?"),
    ("How do I look in this dress?", "How to look in this dress?"),
    ("Do you like green tea?", "You like green tea."),
    ("Is a < b in this case?", "Is a > b in this case?"),
    ("Don't stop the machine.", "Don't! Stop the machine."),
    ("Speak French to me.", "Can you speak French to me?"),
    ("Is the firm in the red?", "Is the firm in red?"),
    ("Did you go to Bath?", "Did you go to bath?"),
    ("Is 5 MW a lot here?", "Is 5 mW a lot here?"),
    ("IT is down again.", "It is down again."),
    ("WHO IS TO BLAME HERE?", "who is to blame here?"),
    ("Have you seen 'Her' yet?", "Have you seen Her yet?"),
    ("What is 10² in all?", "What is 102 in all?"),
    ("Is it 5½ km long?", "Is it 51/2 km long?"),
    ("I lost .5 kg today.", "I lost 5 kg today."),
    ("Take 5–7 of the pills.", "Take 5, 7 of the pills."),
    ("What is 5! in all?", "What is 5 in all?"),
    ("Is no one ready yet?", "Is no 1 ready yet?"),
    ("Did she say thanks?", "Did she say hello?"),
    ("Can he do the tango?", "Can he the tango?"),
    ("Is seven an odd number?", "Is seven a strange number?"),
    ("How could I hurt him?", "How can I hurt him?"),
    ("Tell me when to stop.", "I want to know when to stop."),
    ("Do you know how to drive vans?", "Tell me how to drive vans."),
    ("Would you help a rich thief?", "Could you help a rich thief?"),
    ("你喜欢《活着》吗？", "你喜欢活着吗？"),
    ("请小王吃饭", "小王吃饭"),
    ("你好看书吗", "看书吗"),
    ("这顿饭要不要我请？", "这顿饭要不要我？"),
    ("我怎么知道密码", "我如何知道密码"),
    ("你知道几个国家的首都？", "我想知道几个国家的首都？"),
    ("孩子在那儿干嘛", "孩子在那儿干"),
    ("他昨天没有来上班", "他昨天来上班"),
    ("吃饭前吃药可以吗", "吃饭后吃药可以吗"),
    ("小王把书借给小李", "小李把书借给小王"),
    ("他到底怎么了", "他到底怎么"),
    ("这件衣服三百块", "这件衣服四百块"),
    ("明天我请假一天", "明天我假一天"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_fillers_spellings_and_listed_words_may_differ(one, other):
    """Contents are equal, and the words nearly so."""
    first, second = content_of(one), content_of(other)
    assert first.form == second.form != ()
    assert lexical_similarity(first, second) >= 0.95


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_whatever_changes_the_answer_is_in_the_content(one, other):
    """However alike the words are."""
    assert content_of(one).form != content_of(other).form


def test_a_short_text_has_too_little_content():
    """Such texts have to be equal."""
    assert content_of("Yes, please.").form == ()
    assert content_of("好的").form == ()


@given(st.text(max_size=60))
def test_any_text_has_a_content(text):
    """The same each time, similar to itself; nothing raises."""
    content = content_of(text)
    assert content == content_of(text)
    similarity = lexical_similarity(content, content)
    assert similarity == pytest.approx(1.0 if content.weights else 0.0)


@given(
    st.lists(
        st.sampled_from(["red", "not", "dog", "3", "before", "after", "Tom", "kg"]), min_size=4
    )
)
def test_only_equal_sequences_of_content_words_are_one(words):
    """Any other order of different words is another content."""
    text = " ".join(words)
    reordered = " ".join(reversed(words))
    is_same = content_of(text).form == content_of(reordered).form
    assert is_same == (words == words[::-1])
