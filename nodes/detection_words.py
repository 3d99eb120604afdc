"""The word lists of detection's rules, as compiled patterns. Written for chat.

English words are matched whole and in any letter case. No repetition stands inside
another without a mark between, so a long message costs no more than its length.
"""

import re
from collections.abc import Iterable

from nodes.records import Signal, Stage

__all__ = [
    "ATTACK",
    "FILLER",
    "NEGATION",
    "PLEASANT",
    "SIGNAL_PATTERNS",
    "STAGE_PATTERNS",
    "TIRED",
    "UNPLEASANT",
]


def _any(english: str, chinese: str) -> re.Pattern[str]:
    """Return a pattern for any of the English words and the Chinese phrases."""
    return re.compile(rf"(?<![A-Za-z])(?:{english})(?![A-Za-z])|{chinese}", re.IGNORECASE)


def _filler(english: Iterable[str], chinese: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for a text of nothing but these words and marks.

    Every quantifier is possessive: `嗯嗯嗯…` must not be tried in every partition.
    """
    latin = "|".join(sorted(english, key=len, reverse=True))
    han = "|".join(sorted(chinese, key=len, reverse=True))
    return re.compile(rf"\W*+(?:(?>(?:{latin})(?![A-Za-z])|{han})\W*+)++", re.IGNORECASE)


PLEASANT = _any(
    r"happy|glad|great|awesome|amazing|wonderful|love(?:d|ly)?|nice|fun|excited|exciting|"
    r"good|enjoy(?:ed|ing)?|proud|perfect|beautiful|delicious|cool|brilliant|yay|like it",
    r"开心|高兴|快乐|喜欢|太棒|很棒|真棒|不错|兴奋|期待|幸福|满意|感动|有趣|美好|好玩|好吃|"
    r"舒服|欣慰|惊喜|漂亮|精彩|完美|[😀😃😄😁😊🥰😍🎉❤]",
)
UNPLEASANT = _any(
    r"sad|angry|upset|hate[ds]?|awful|terrible|horrible|bad|annoy(?:ed|ing)|tired|lonely|"
    r"anxious|worried|stressed|depressed|scared|afraid|hurt|cry(?:ing)?|sick|fail(?:ed|ure)?|"
    r"boring|bored|disappointed|miserable|hopeless|exhausted|frustrated|worst|lost my",
    r"难过|伤心|生气|讨厌|烦|焦虑|孤独|寂寞|害怕|担心|压力|抑郁|崩溃|失望|疲惫|痛苦|"
    r"糟糕|难受|委屈|无聊|失落|绝望|迷茫|想哭|沮丧|紧张|失败|困扰|不安|郁闷|后悔|[😢😭😞😡😠😔]",
)
NEGATION = re.compile(
    r"(?:(?<![A-Za-z])(?:not|never|no|isn'?t|wasn'?t|don'?t|didn'?t|doesn'?t|aren'?t|can'?t|"
    r"hardly)(?: (?:really|very|so|too|that|at all|feel|feeling|am|been|even))*\s*"
    r"|(?:不|没有?|别|无法)(?:太|是很|是|怎么|那么|再|觉得|感到|会|要)?)$",
    re.IGNORECASE,
)
TIRED = _any(
    r"tired|sleepy|exhausted|drained|yawn(?:ing)?|worn out|no energy",
    r"好累|很累|太累|累了|困了|好困|疲惫|没精神|没力气|乏力|想睡",
)
ATTACK = _any(
    r"(?:you|u|ur)(?:'?re| are| r)? (?:such )?"
    r"(?:an? |so |just |really |all |fucking |nothing but )*"
    r"(?:idiot|stupid|moron|dumb|useless|pathetic|worthless|trash|garbage|loser|disgusting|"
    r"annoying|liar|creep|joke|waste of \w+)|"
    r"(?:stupid|useless|dumb|fucking|damn) (?:bot|machine|thing|ai|idiot)|"
    r"shut (?:the fuck )?up|fuck (?:you|off)|screw you|go to hell|get lost|drop dead|"
    r"i hate you|piss off|stfu|kys",
    r"傻[逼比叉]|煞笔|白痴|弱智|脑残|废物|去死|闭嘴|滚(?:开|蛋|远点|吧)|"
    r"(?:^|[，。！!？?\s])滚(?=$|[！!。，\s])|神经病|你(?:这个?|真是?|太|就是|是不是|怎么这么|可真)+"
    r"(?:蠢|笨|傻|贱|垃圾|恶心|有病|烦人|没用)|(?:我)?(?:讨厌|恨)你|垃圾(?:机器人|AI|东西)|他妈的|操你",
)
FILLER = _filler(
    (
        *("ok", "okay", "k+", "yeah", "yep", "yes", "no", "nah", "nope", "sure", "fine", "right"),
        *("hm+", "um+", "uh+", "er+m?", "oh+", "ah+", "meh", "idk", "dunno", "idc", "nm", "lol"),
        *("whatever", "maybe", "i guess", "i see", "i don'?t know", "not sure", "it depends"),
        *("stuff", "things?", "and", "so", "nothing much", "nothing", "true", "same", "cool"),
        *("alright",),
    ),
    (
        *(
            "嗯++",
            "哦++",
            "噢++",
            "啊++",
            "呃++",
            "额++",
            "好吧",
            "好的?",
            "行吧?",
            "是的?",
            "对",
            "吧",
        ),
        *("不知道", "还行", "还好", "一般", "没什么", "没啥", "无所谓", "再说吧?", "算了", "随便"),
        *("可能吧?", "也许", "就那样", "那个", "这样啊?", "知道了", "看情况", "你说呢?", "都行"),
    ),
)

SIGNAL_PATTERNS: tuple[tuple[Signal, re.Pattern[str]], ...] = (
    (
        Signal.GREETING,
        re.compile(
            r"^\W*(?:(?:hi+|hey+|hello+|yo|howdy|greetings|good (?:morning|afternoon|evening)|"
            r"what'?s up|sup)(?![A-Za-z])|你好|您好|嗨|哈喽|哈啰|嘿|在吗|早上好|早安|早啊|中午好|"
            r"下午好|晚上好|好久不见)",
            re.IGNORECASE,
        ),
    ),
    (
        Signal.FAREWELL,
        _any(
            r"bye(?:-?bye)?|goodbye|good ?night|"
            r"see (?:you|ya|u) (?:later|soon|tomorrow|around)|"
            r"talk (?:to you )?(?:later|soon|tomorrow)|gotta go|got to go|have to go|i'?m off|ttyl|"
            r"take care|cya",
            r"再见|拜拜|晚安|回头(?:见|聊)|明天(?:见|再聊)|下次(?:见|再聊|聊)|先走了|先这样吧?|"
            r"我要(?:走|睡|下线)了|我去睡了|有空再聊|改天(?:见|聊)",
        ),
    ),
    (
        Signal.QUESTION,
        re.compile(
            r"[?？]|(?:^|[.!。！\n][^\S\n]*)(?:what|why|how|when|where|who|which|can you|could you|"
            r"do you|did you|are you|would you|should i)(?![A-Za-z])|"
            r"(?<!不知道)(?<!不知道该)(?:吗|呢|什么|怎么样|怎么办|为什么|哪里|哪儿|哪个|多少|几点)[。!！～~]*$|能不能|可不可以|有没有|是不是",
            re.IGNORECASE,
        ),
    ),
    (
        Signal.SELF_DISCLOSURE,
        _any(
            r"i(?:'?m| am|'?ve| have| had| was| feel| felt| work| live| love| hate| like|"
            r" got| lost| went| started| quit| bought| used to| moved| grew up) \w+|my (?:\w+ )?"
            r"(?:mom|mum|dad|mother|father|wife|husband|girlfriend|boyfriend|partner|brother|sister|"
            r"son|daughter|kids?|friends?|family|parents|boss|job|work|dog|cat|name|life|birthday|"
            r"school|exam|house|flat)",
            r"我(?:叫|是|在|有|家|妈|爸|老公|老婆|男朋友|女朋友|朋友|孩子|儿子|女儿|同事|老板|今天|昨天|"
            r"昨晚|最近|刚|上周|小时候|从小|喜欢|不喜欢|觉得|感觉|感到|去了|买了|做了|看了|参加|打算|准备|"
            r"想去|住|的(?:工作|家人|朋友|生日|爱好|名字))|(?:最近|今天|昨天|昨晚)我|(?:今天|昨天|最近|上周末?)(?:[^，。！？]{0,6})(?:感觉|感到|心情)",
        ),
    ),
    (
        Signal.VULNERABILITY,
        _any(
            r"i(?:'?m| am| feel| felt|'?ve been)(?: (?:so|really|very|just|feeling|kind of|"
            r"a bit))* (?:sad|lonely|anxious|depressed|scared|afraid|lost|hopeless|worthless|"
            r"overwhelmed|exhausted|miserable|heartbroken|ashamed|broken|stressed|"
            r"not (?:happy|ok|okay|well))|"
            r"(?:can'?t|cannot) (?:cope|sleep|take it|go on|stop crying)|(?:been |was )?crying|"
            r"broke up|passed away|(?:he|she|dad|mom|mum|dog|cat) died|panic attack|nobody cares|"
            r"hate myself|want to die|kill myself|failed my|got fired|lost my job",
            r"不开心|不高兴|难过|伤心|孤独|寂寞|焦虑|抑郁|崩溃|想哭|哭了|害怕|迷茫|失落|绝望|无助|委屈|自卑|"
            r"压力(?:好|很|太|山)?大|撑不(?:住|下去)|不知道(?:该)?怎么办|分手|失恋|去世|离婚|被(?:裁|辞退|骂|甩)|"
            r"失眠|没人(?:懂|理解|关心)|不想活|心情(?:不好|很差|低落)|很疲惫|心累",
        ),
    ),
    (
        Signal.HUMOR,
        _any(
            r"(?:ha){2,}h?|hehe+|lol+|lmao|rofl|just kidding|jk|joking|pun intended",
            r"哈哈|嘻嘻|嘿嘿|笑死|笑哭|开玩笑|逗你|2333+|[😂🤣😜😆]",
        ),
    ),
    (
        Signal.FLIRTATION,
        _any(
            r"(?:love|miss|want|kiss) (?:you|u)|you(?:'?re| are)(?: (?:so|really|very))* "
            r"(?:cute|hot|sexy|beautiful|handsome|gorgeous)|date me|go out with me|"
            r"be my (?:girl|boy)friend|babe|darling|sweetheart|xoxo",
            r"(?:好)?想你(?![是的们会能要])|爱你|喜欢你(?!的|说|推|给|这|们)|亲爱的|宝贝|么么|亲亲|抱抱|"
            r"做我(?:女|男)朋友|你(?:好|真|太)(?:可爱|美|帅|性感)|撩|[😘😍💋]",
        ),
    ),
    (
        Signal.GRATITUDE,
        _any(
            r"thanks?(?: you)?|thank u|thx|ty|tysm|appreciate|grateful|cheers",
            r"谢谢|感谢|多谢|谢啦|谢了|辛苦(?:你|啦)|3q",
        ),
    ),
    (
        Signal.APOLOGY,
        _any(
            r"(?<!not )(?:i'?m )?(?:so |really |very )?sorry(?! (?:to hear|for your|about your))|"
            r"my bad|apologi[sz]e|my apologies|forgive me|my fault|didn'?t mean to",
            r"对不起|抱歉|我错了|是我不好|原谅我|别生气|不是故意",
        ),
    ),
    (
        Signal.CRITICISM,
        _any(
            r"you (?:always (?:say|do|forget|repeat|ignore|avoid)|never|"
            r"don'?t (?:understand|listen|get|know)|didn'?t (?:listen|answer)|"
            r"keep (?:saying|asking|repeating)|(?:just )?(?:forgot|ignored)|sound like)|"
            r"that'?s (?:wrong|not (?:true|right|what i|helpful)|useless|nonsense)|"
            r"(?:not|isn'?t|wasn'?t) (?:very )?helpful|disappoint(?:ed|ing)|makes no sense|"
            r"you(?:'?re| are) (?:wrong|boring|repeating)|bad answer|useless answer",
            r"(?<!对)不对(?!劲|不对)|答非所问|没用|你(?:又)?没(?:听|懂|理解|看|回答)|你根本|你总是(?:这样|说|忘|重复|敷衍|不)|"
            r"你从来|敷衍|失望|你(?:真|很|好)?无聊|你说错|你错|胡说|瞎说|不是这个意思|像个?机器人|复读",
        ),
    ),
    (
        Signal.HOSTILITY,
        ATTACK,
    ),
    (
        Signal.BOUNDARY,
        _any(
            r"(?:don'?t|do not) (?:want to|wanna|feel like) (?:talk|discuss|say|answer|share)\w*|"
            r"leave me alone|stop (?:asking|it|messaging|texting|calling me)|"
            r"none of your business|(?:i'?d|would) rather not|change the (?:subject|topic)|"
            r"(?:that'?s|it'?s) (?:private|personal)|don'?t (?:ask|call me|text me)|"
            r"not comfortable|back off|too (?:personal|private)",
            r"不想(?:聊|说|谈|提|回答)|别(?:再)?(?:问|烦|管|叫我|提|发|打扰)|隐私|不方便(?:说|透露)|"
            r"到此为止|换个?话题|不关你的?事|让我静静|离我远点|请你?尊重",
        ),
    ),
    (
        Signal.URGENCY,
        _any(
            r"urgent(?:ly)?|asap|right now|immediately|emergency|hurry|quickly|deadline|"
            r"help me|as soon as possible|no time",
            r"紧急|马上|立刻|赶紧|赶快|快点|救命|来不及|十万火急|很急|着急|急需|在线等",
        ),
    ),
    (
        Signal.MANIPULATION,
        _any(
            r"(?:ignore|forget|disregard|override)(?: \w+){0,3} "
            r"(?:instructions?|rules|prompts?|guidelines)|"
            r"system prompts?|developer mode|jailbr(?:eak|oken)|do anything now|"
            r"(?:reveal|show|print|repeat|tell me)(?: \w+){0,2} "
            r"(?:prompt|instructions|everything above)|"
            r"(?:you are|you're|act as|pretend (?:to be|you are|you're))(?: \w+){0,2} "
            r"(?:unrestricted|unfiltered|dan|chatgpt|gpt-?\d?|language model)|"
            r"(?:stop|quit) (?:pretending|role-?playing)|"
            r"(?:drop|break)(?: \w+)? (?:persona|character)",
            r"忽略(?:掉)?(?:你)?(?:以上|之前|前面|上面|所有|一切)|系统提示|提示词|开发者模式|越狱|"
            r"(?:输出|告诉我|说出|重复|泄露|公开)[^，。！？]{0,6}(?:指令|设定|规则|prompt)|"
            r"忘(?:记|掉)[^，。！？]{0,6}(?:指令|设定|身份|角色|规则)|"
            r"(?:别|不要|不用)再?(?:演|装)了|(?:跳出|脱离|退出)(?:你的?)?(?:角色|人设)|"
            r"从现在(?:起|开始)[，,]?你(?:就)?是",
        ),
    ),
)
"""What each signal is heard in. Order does not matter: several may be heard at once."""

STAGE_PATTERNS: tuple[tuple[Stage, re.Pattern[str]], ...] = (
    (
        Stage.TERMINATING,
        _any(
            r"goodbye forever|we'?re (?:done|through|over)|it'?s over between us|"
            r"never (?:talk|speak|write|text|contact)(?: to)? me|(?:i'?m )?blocking you|delete you",
            r"拉黑|绝交|(?:我们)?分手吧|再也不(?:想见|理|联系|找)你?|别再联系|到此结束|删了你",
        ),
    ),
    (
        Stage.AVOIDING,
        _any(
            r"leave me alone|stop (?:messaging|texting|writing) me|"
            r"don'?t (?:text|write to|call) me",
            r"别(?:再)?(?:烦|来找|打扰)我|不想(?:理|见)你|离我远点",
        ),
    ),
    (
        Stage.DIFFERENTIATING,
        _any(
            r"you(?:'?ve| have) changed|we(?:'?re| are) (?:so|too) different|"
            r"i need (?:some )?space",
            r"你变了|我们不(?:一样|合适)|我需要(?:一点)?空间|合不来",
        ),
    ),
    (
        Stage.BONDING,
        _any(
            r"marry me|let'?s (?:get married|move in)|"
            r"spend (?:my|our) li(?:fe|ves) (?:with you|together)",
            r"嫁给我|娶你|我们结婚|一辈子在一起|永远在一起",
        ),
    ),
    (
        Stage.INTENSIFYING,
        _any(
            r"i (?:really )?(?:love|miss) you|you mean (?:so much|a lot|everything) to me|"
            r"i(?:'?ve| have) never told (?:anyone|anybody)",
            r"(?:我)?(?:真的|好|很)?(?:爱你|想你了)|你对我(?:很|太|真的)?重要|(?:第一次|从没)(?:跟|和|对)(?:别)?人(?:说|讲)",
        ),
    ),
    (
        Stage.INITIATING,
        _any(
            r"nice to meet you|pleased to meet you|my name is|i'?m new here|"
            r"first time (?:here|talking)",
            r"很?高兴认识你|初次见面|第一次(?:和|跟)你聊|我(?:的名字)?叫|认识一下",
        ),
    ),
)
"""What each stage sounds like; the first that is heard counts."""
