"""Common words that say nothing about drawn shapes: what questions are padded with."""

_TEXT = """
able about across act add afternoon again age ago agree air almost along already also although
always animal answer appear apple arm around arrive art ask attached away baby bag ball bank base
beach beautiful because become bed before begin believe best better between big bird bit boat body
book bottle boy bread break bring brother build busy buy call came car card care carry case cat
catch certain chair change child children choose city class clean clear close cloud coat coffee
cold come company computer consider cook cool corner course cover cup customer cut daily dance
data daughter day dear deep desk did different dinner doctor dog done door down draw dream drive
during each early earth easy eat edge else end enjoy enough evening ever every example eye face
fact fall family far farm fast father favourite feel few field file final fine finish fire fish
floor flower fly follow food foot form found free fresh friend front fruit full fun game garden
gave get girl given glad glass go good got grand grass great group grow guess had hair half hand
happen happy hard hat head hear heart heavy held help her here high hill his hold home hope horse
hot hour house huge hundred idea important inside interesting into island job join jump keep kept
key kid kind kitchen knew know land language large last late laugh lay lead learn least leave leg
less lesson let letter level life light like line list listen little live local long lost lot love
low luck lunch machine made mail main make man map mark market matter maybe mean meet member mind
minute moment money month moon more morning most mother mountain mouth move much music must my
name nature near neat need neighbour never new news next nice night north note nothing notice now
ocean off office often oil old once only open order other our outside over own pair paper parent
park part party pass past pay pen people perhaps person piano piece place plan plane plant play
plenty point pool poor possible post power pretty price print problem project proper public pull
push put quick quiet quite rain ran reach read ready real really reason record rest result return
rich ride river road rock room run safe said sail same sand save saw school sea season seat second
seem sell send sent serious serve set several sheet ship shoe shop short should show side sign
silly simple since sing sister sit size sky sleep slow small smile snow soft some son song soon
sort sound south space special spend sport spring stand start state station stay step still stone
stop store storm story street strong student study such sugar summer sun sure surprise swim table
take talk tall tea teach teacher team test than thank their them then these they thin think third
those though thought thousand through ticket time tiny tired to today together told tomorrow
tonight too took touch toward town toy train travel tree trip trouble try turn twelve until up
upon us use useful usual vacation various very view village visit voice wait walk want warm wash
watch water way weather week weight well went were west wet wheel while whole wide wife wild will
win wind window winter wish with without woman wonder wood word work world worry would write year
yesterday yet young your zoo actual afterwards apparently assistant assume basically beneath
clever colleague contains currently depict detail display drawer element entire exactly exhibit
feature glance hopefully identify indicate inspect item kindly locate merely observe obvious
obviously particular perceive portion precise probably provide quickly respective respond
seemingly shall simply single situated somewhere specific submit supposed tell thanks therefore
thing upload visible
"""

WORDS = tuple(_TEXT.split())
